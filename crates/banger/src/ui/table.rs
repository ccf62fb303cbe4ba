use comfy_table::{CellAlignment, ContentArrangement, presets};

/// Space between columns.
const GAP: u16 = 3;

/// Columns without lines between them, as docker and kubectl print them.
pub(crate) struct Table(comfy_table::Table);

impl Table {
    pub(crate) fn new(headers: &[&str]) -> Self {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(headers.to_vec());
        Self(table)
    }

    pub(crate) fn row<I: IntoIterator<Item = String>>(&mut self, cells: I) {
        self.0.add_row(cells);
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut table = self.0.clone();
        for column in table.column_iter_mut() {
            column.set_padding((0, GAP)).set_cell_alignment(CellAlignment::Left);
        }
        table.lines().try_for_each(|line| writeln!(f, "{}", line.trim_end()))
    }
}

/// `key: value` lines with the values below each other.
#[derive(Default)]
pub(crate) struct Fields(Vec<(&'static str, String)>);

impl Fields {
    #[must_use]
    pub(crate) fn with(mut self, key: &'static str, value: impl std::fmt::Display) -> Self {
        self.0.push((key, value.to_string()));
        self
    }

    /// Leaves the line out when there is nothing to tell.
    #[must_use]
    pub(crate) fn with_some(self, key: &'static str, value: Option<impl std::fmt::Display>) -> Self {
        match value {
            Some(value) => self.with(key, value),
            None => self,
        }
    }
}

impl std::fmt::Display for Fields {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let width = self.0.iter().map(|(key, _)| key.len() + 1).max().unwrap_or_default();
        self.0.iter().try_for_each(|(key, value)| writeln!(f, "{:width$}  {value}", format!("{key}:")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_no_lines_and_no_trailing_blanks() {
        let mut table = Table::new(&["NAME", "STATE", "UPTIME"]);
        table.row(["brave-otter", "running", "3m 12s"].map(String::from));
        table.row(["x", "stopped", "-"].map(String::from));
        insta::assert_snapshot!(table.to_string(), @r"
        NAME          STATE     UPTIME
        brave-otter   running   3m 12s
        x             stopped   -
        ");
    }

    #[test]
    fn an_empty_table_still_says_what_it_would_hold() {
        assert_eq!(Table::new(&["NAME", "STATE"]).to_string(), "NAME   STATE\n");
    }

    #[test]
    fn fields_line_up() {
        let fields =
            Fields::default().with("name", "x").with_some("address", None::<u8>).with("memory", "2 GiB");
        insta::assert_snapshot!(fields.to_string(), @r"
        name:    x
        memory:  2 GiB
        ");
    }
}
