use std::collections::BTreeSet;

use serde::Deserialize;

use super::{DebianSource, Entry, Kind, Recipe, Source};

/// What is understood.
const VERSION: u64 = 1;

/// Longest name of an entry.
const NAME_MAX_LEN: usize = 64;

/// A catalog as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    /// Of the format; 1 when absent.
    #[serde(default)]
    version: Option<u64>,
    #[serde(default)]
    images: Vec<Entry>,
    #[serde(default)]
    kernels: Vec<Entry>,
}

/// What is wrong with a catalog, and where: line and column from 1, or 0 when it is about the whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    pub(super) line: usize,
    pub(super) column: usize,
    pub(super) message: String,
}

impl From<serde_json::Error> for Mistake {
    fn from(error: serde_json::Error) -> Self {
        let (line, column, text) = (error.line(), error.column(), error.to_string());
        let place = format!(" at line {line} column {column}");
        Self { line, column, message: text.strip_suffix(&place).unwrap_or(&text).to_owned() }
    }
}

impl Mistake {
    fn of_all(message: String) -> Self {
        Self { line: 0, column: 0, message }
    }
}

impl Document {
    pub(super) fn builtin() -> Self {
        // Embedded when banger is compiled, and parsed by a test.
        Self::parse(include_str!("catalog.json")).expect("the built-in catalog is valid")
    }

    /// Reads a catalog's text.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, Mistake> {
        #[derive(Deserialize)]
        struct Version {
            #[serde(default)]
            version: Option<u64>,
        }
        // A list would pass for a structure without fields.
        if text.trim_start().starts_with('[') {
            return Err(Mistake { line: 1, column: 1, message: "expected `{`".into() });
        }
        // First of all: a newer one may have anything in it.
        let Version { version } = serde_json::from_str(text)?;
        if let Some(version) = version.filter(|version| *version != VERSION) {
            let message =
                format!("version {version} of the catalog's format is not understood: update banger");
            return Err(Mistake::of_all(message));
        }
        let document: Self = serde_json::from_str(text)?;
        for kind in [Kind::Image, Kind::Kernel] {
            let mut names = BTreeSet::new();
            for entry in document.entries(kind) {
                check(kind, entry).map_err(Mistake::of_all)?;
                if !names.insert(&entry.name) {
                    return Err(Mistake::of_all(format!("{} {:?} is there twice", kind.word(), entry.name)));
                }
            }
        }
        Ok(document)
    }

    pub(super) fn entries(&self, kind: Kind) -> &[Entry] {
        match kind {
            Kind::Image => &self.images,
            Kind::Kernel => &self.kernels,
        }
    }

    pub(super) fn find(&self, kind: Kind, name: &str) -> Option<&Entry> {
        self.entries(kind).iter().find(|entry| entry.name == name)
    }

    pub(super) fn entries_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.images.iter_mut().chain(&mut self.kernels)
    }

    /// How many there are of both kinds.
    pub(super) fn len(&self) -> usize {
        self.images.len() + self.kernels.len()
    }
}

fn check(kind: Kind, entry: &Entry) -> Result<(), String> {
    let name = &entry.name;
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if !name.starts_with(|c: char| c.is_ascii_alphanumeric())
        || !name.chars().all(plain)
        || name.len() > NAME_MAX_LEN
    {
        return Err(format!(
            "a name must be 1 to {NAME_MAX_LEN} letters, digits and any of . _ -, found {name:?}"
        ));
    }
    if entry.description.chars().any(char::is_control) {
        return Err(format!("the description of {name:?} has control characters in it"));
    }
    if kind == Kind::Kernel && matches!(entry.source, Source::Oci(_)) {
        return Err(format!("kernel {name:?} cannot come from a registry: make a bundle of it"));
    }
    if let Source::Debian(DebianSource { recipe, .. }) = &entry.source
        && (*recipe == Recipe::Kernel) != (kind == Kind::Kernel)
    {
        return Err(format!("the recipe of {} {name:?} makes something else", kind.word()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{DEFAULT_IMAGE, DEFAULT_KERNEL};
    use super::*;

    #[test]
    fn the_built_in_catalog_is_valid_and_has_the_defaults() {
        let document = Document::builtin();
        assert!(document.find(Kind::Image, DEFAULT_IMAGE).is_some());
        assert!(document.find(Kind::Kernel, DEFAULT_KERNEL).is_some());
    }

    #[test]
    fn mistakes_are_told_with_their_place() {
        let kernel = |fields: &str| format!("{{\"kernels\": [\n{{\"name\": \"x\", {fields}}}]}}");
        let debian = r#"{"kind": "debian", "suite": "trixie", "recipe": "kernel"}"#;
        for (text, line, message) in [
            ("{".to_owned(), 1, "EOF while parsing"),
            ("[]".into(), 1, "expected"),
            (r#"{"version": 2, "anything": 1}"#.into(), 0, "update banger"),
            ("{\"kernels\": [],\n\"more\": 1}".into(), 2, "unknown field `more`"),
            (kernel(r#""source": {"kind": "oci"}"#), 2, "missing field `reference`"),
            (kernel(r#""source": {"kind": "oci", "reference": "x"}"#), 0, "cannot come from a registry"),
            (kernel(r#""source": {"kind": "ftp"}"#), 2, "unknown variant `ftp`"),
            (
                kernel(r#""source": {"kind": "oci", "reference": "x", "mirror": "y"}"#),
                2,
                "unknown field `mirror`",
            ),
            (kernel(r#""source": {"kind": "bundle", "sha256": "x"}"#), 2, "either `url` or `path`"),
            (kernel(&format!(r#""source": {debian}, "sauce": 1"#)), 2, "unknown field `sauce`"),
            (
                kernel(r#""source": {"kind": "debian", "suite": "x", "recipe": "golden"}"#),
                0,
                "something else",
            ),
            (format!(r#"{{"images": [{{"name": "x", "source": {debian}}}]}}"#), 0, "something else"),
            (format!(r#"{{"kernels": [{{"name": "a/b", "source": {debian}}}]}}"#), 0, "found \"a/b\""),
            (
                format!(
                    r#"{{"kernels": [{{"name": "x", "source": {debian}}}, {{"name": "x", "source": {debian}}}]}}"#
                ),
                0,
                "kernel \"x\" is there twice",
            ),
        ] {
            let mistake = Document::parse(&text).unwrap_err();
            assert!(mistake.message.contains(message) && mistake.line == line, "{text}: {mistake:?}");
        }
        assert_eq!(Document::parse("{}").unwrap(), Document::default());
        assert!(Document::parse(&kernel(&format!(r#""source": {debian}"#))).is_ok());
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in r#"[\[\]{}":,a-z0-9 \n]{0,60}"#) {
            let _ = Document::parse(&text);
        }
    }
}
