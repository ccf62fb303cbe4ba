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
