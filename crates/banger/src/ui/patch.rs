//! A patch in colours. Its text is a guest's: what a terminal would obey is taken out.

use super::style::{BAD, GOOD, HELP, clean, paint};

/// Longer lines are shown up to here: nobody reads more of them.
const LINE_MAX_LEN: usize = 16 * 1024;

/// Colours a patch that comes in pieces.
#[derive(Default)]
pub(crate) struct Colouring {
    line: Vec<u8>,
    cut: bool,
}

impl Colouring {
    /// The lines that `piece` completes, ready to be shown.
    pub(crate) fn piece(&mut self, piece: &[u8]) -> String {
        let mut shown = String::new();
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = match part.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (part, false),
            };
            let room = LINE_MAX_LEN - self.line.len().min(LINE_MAX_LEN);
            self.cut |= text.len() > room;
            self.line.extend_from_slice(&text[..text.len().min(room)]);
            if ends {
                shown.push_str(&self.rest());
            }
        }
        shown
    }

    /// The last line, if it had no end.
    pub(crate) fn rest(&mut self) -> String {
        if self.line.is_empty() && !self.cut {
            return "\n".into();
        }
        let text = clean(&String::from_utf8_lossy(&self.line));
        let more = if self.cut { " [...]" } else { "" };
        self.line.clear();
        self.cut = false;
        format!("{}{more}\n", coloured(&text))
    }
}

fn coloured(line: &str) -> String {
    let bold = anstyle::Style::new().bold();
    let heads = ["diff --git ", "index ", "--- ", "+++ ", "new file", "deleted file", "old mode", "new mode"];
    let more_heads = ["rename ", "similarity ", "GIT binary patch"];
    if heads.iter().chain(&more_heads).any(|head| line.starts_with(head)) {
        paint(bold, line)
    } else if line.starts_with("@@ ") {
        paint(HELP, line)
    } else if line.starts_with('+') {
        paint(GOOD, line)
    } else if line.starts_with('-') {
        paint(BAD, line)
    } else {
        line.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(pieces: &[&str]) -> String {
        let mut colouring = Colouring::default();
        pieces.iter().map(|piece| colouring.piece(piece.as_bytes())).collect()
    }

    #[test]
    fn lines_are_coloured_however_they_come() {
        let whole = shown(&["@@ -1 +1 @@\n-old\n+new\n same\n\n"]);
        let pieces = shown(&["@@ -1 +", "1 @@\n-o", "ld\n", "+new\n same", "\n\n"]);
        assert_eq!(whole, pieces);
        assert_eq!(anstream::adapter::strip_str(&whole).to_string(), "@@ -1 +1 @@\n-old\n+new\n same\n\n");
        assert!(whole.contains("\u{1b}[31m-old") && whole.contains("\u{1b}[32m+new"), "{whole:?}");
    }

    #[test]
    fn a_patch_cannot_command_the_terminal() {
        let text = shown(&["+\u{1b}[2J\u{1b}]0;title\u{7}x\u{9b}31m\n"]);
        assert!(!text.contains("[2J") && !text.contains('\u{7}') && !text.contains('\u{9b}'), "{text:?}");
    }

    #[test]
    fn endless_lines_are_cut() {
        let text = shown(&["+", &"x".repeat(3 * LINE_MAX_LEN), "\n+y\n"]);
        assert!(text.len() < 2 * LINE_MAX_LEN && text.contains("[...]") && text.contains("+y"));
    }
}
