use anstyle::{AnsiColor, Style};

pub(crate) const ERROR: Style = AnsiColor::Red.on_default().bold();
pub(crate) const BAD: Style = AnsiColor::Red.on_default();
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const WARN: Style = AnsiColor::Yellow.on_default();
pub(crate) const HELP: Style = AnsiColor::Cyan.on_default();
pub(crate) const DIM: Style = Style::new().dimmed();

/// `text` in `style`; the writers of [`mod@super::print`] take the colours out where they do not belong.
pub(crate) fn paint(style: Style, text: impl std::fmt::Display) -> String {
    format!("{style}{text}{style:#}")
}

/// Foreign text (of tools, guests, logs) without what a terminal would obey.
pub(crate) fn clean(text: &str) -> String {
    let text = text.replace('\t', "    ");
    anstream::adapter::strip_str(&text).to_string().chars().filter(|c| !c.is_control()).collect()
}

/// Does it make a terminal show what follows in another order, or not at all?
fn turns_text(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// A file's name on one line, whatever its bytes: control characters are escaped, for they may be meant for
/// the terminal.
pub(crate) fn file_name(name: impl AsRef<std::ffi::OsStr>) -> String {
    let mut shown = String::new();
    for c in name.as_ref().to_string_lossy().chars() {
        if c.is_control() || turns_text(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_cannot_command_a_terminal() {
        assert_eq!(file_name("a b\u{e9}\n\u{1b}[2J\u{9b}m"), "a b\u{e9}\\n\\u{1b}[2J\\u{9b}m");
    }
}
