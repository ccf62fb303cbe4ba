//! Foreign text in our own messages: bounded, on one line, without terminal tricks.

/// The text with control characters and what reorders a line escaped, cut after `max_chars` characters.
pub(crate) fn printable(text: &str, max_chars: usize) -> String {
    let mut shown = String::new();
    for (number, character) in text.trim().chars().enumerate() {
        if number == max_chars {
            shown.push('…');
            break;
        }
        if character.is_control() || reorders(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Bidirectional controls, line separators and invisible marks: they make a text look like another.
fn reorders(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_tricks_are_shown_as_what_they_are() {
        assert_eq!(printable(" a\x1b[2Jb\nc ", 99), "a\\u{1b}[2Jb\\nc");
        assert_eq!(printable("x\u{202e}y", 99), "x\\u{202e}y");
        assert_eq!(printable("äöü", 2), "äö…");
        assert_eq!(printable("äöü", 3), "äöü");
    }
}
