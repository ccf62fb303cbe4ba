//! Text that arrives as binary content: nobody reads it there, and programs obey it all the same.

use super::lines::KEPT_BYTES;
use super::{LineKind, PatchEvents};

/// git looks at so much of a file for a NUL byte, to tell whether it is text.
const HEAD_BYTES: usize = 8000;

/// The form of a section's content.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// The new file.
    Literal,
    /// How to make it of the old one: pieces to copy, and new ones.
    Delta,
}

/// Hears the new content go by, and passes its lines on if it is text.
pub(super) struct BinaryText<'e, E> {
    events: &'e mut E,
    form: Form,
    inserts: Inserts,
    /// Until it is known what it is.
    head: Vec<u8>,
    is_text: Option<bool>,
    line: Vec<u8>,
    is_cut: bool,
}

impl<'e, E: PatchEvents> BinaryText<'e, E> {
    pub(super) fn new(events: &'e mut E, form: Form) -> Self {
        let (head, line) = (Vec::new(), Vec::new());
        Self { events, form, inserts: Inserts::default(), head, is_text: None, line, is_cut: false }
    }

    pub(super) fn take(&mut self, content: &[u8]) {
        if self.form == Form::Literal {
            return self.hear(content);
        }
        let mut rest = content;
        while let Some(new) = self.inserts.next(&mut rest) {
            self.hear(new);
        }
    }

    fn hear(&mut self, content: &[u8]) {
        match self.is_text {
            Some(true) => self.lines(content),
            Some(false) => {}
            None => {
                self.head.extend_from_slice(content);
                if self.head.len() >= HEAD_BYTES {
                    self.decide();
                }
            }
        }
    }

    fn decide(&mut self) {
        let head = std::mem::take(&mut self.head);
        let looked_at = &head[..head.len().min(HEAD_BYTES)];
        // Pieces of something binary are short, and may lack the byte.
        let is_text = !looked_at.is_empty()
            && !looked_at.contains(&0)
            && (self.form == Form::Literal || is_mostly_utf8(looked_at));
        self.is_text = Some(is_text);
        if is_text {
            self.events.text_in_binary();
            self.lines(&head);
        }
    }

    fn lines(&mut self, content: &[u8]) {
        for piece in content.split_inclusive(|byte| *byte == b'\n') {
            let (text, ends) = match piece.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (piece, false),
            };
            let room = KEPT_BYTES - self.line.len().min(KEPT_BYTES);
            self.is_cut |= text.len() > room;
            self.line.extend_from_slice(&text[..text.len().min(room)]);
            if ends {
                self.end_line();
            }
        }
    }

    fn end_line(&mut self) {
        self.events.line(LineKind::Added, &self.line, self.is_cut);
        self.line.clear();
        self.is_cut = false;
    }

    /// The section is complete.
    pub(super) fn finish(mut self) {
        if self.is_text.is_none() {
            self.decide();
        }
        if !self.line.is_empty() {
            self.end_line();
        }
    }
}

/// All but the end, where a character may be cut.
fn is_mostly_utf8(text: &[u8]) -> bool {
    let invalid: usize = text.utf8_chunks().map(|chunk| chunk.invalid().len()).sum();
    invalid * 50 <= text.len()
}

/// Takes the new pieces out of a delta, however it is cut.
#[derive(Default)]
struct Inserts {
    /// Of the two sizes that it begins with, those that were read.
    sizes: u8,
    /// Bytes that say from where to copy, or that are new.
    skip: u32,
    new: usize,
}

impl Inserts {
    /// The next piece of what is new, taken off `delta`; none when there is no more in it.
    fn next<'d>(&mut self, delta: &mut &'d [u8]) -> Option<&'d [u8]> {
        loop {
            if self.new > 0 && !delta.is_empty() {
                let (piece, rest) = delta.split_at(self.new.min(delta.len()));
                (*delta, self.new) = (rest, self.new - piece.len());
                return Some(piece);
            }
            let (byte, rest) = delta.split_first()?;
            *delta = rest;
            if self.sizes < 2 {
                self.sizes += u8::from(byte & 0x80 == 0);
            } else if self.skip > 0 {
                self.skip -= 1;
            } else if byte & 0x80 != 0 {
                self.skip = (byte & 0x7f).count_ones();
            } else {
                self.new = usize::from(*byte);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Heard {
        is_text: bool,
        lines: Vec<(String, bool)>,
    }

    impl PatchEvents for Heard {
        fn text_in_binary(&mut self) {
            self.is_text = true;
        }

        fn line(&mut self, _: LineKind, text: &[u8], is_cut: bool) {
            self.lines.push((String::from_utf8_lossy(&text[..text.len().min(20)]).into_owned(), is_cut));
        }
    }

    fn heard(form: Form, content: &[u8], piece: usize) -> Heard {
        let mut heard = Heard::default();
        let mut text = BinaryText::new(&mut heard, form);
        content.chunks(piece).for_each(|piece| text.take(piece));
        text.finish();
        heard
    }

    #[test]
    fn text_is_heard_line_by_line_however_it_comes() {
        let content = [b"one\ntwo\n", "x".repeat(70_000).as_bytes(), b"\nend"].concat();
        for piece in [1, 7, 8000, 100_000] {
            let heard = heard(Form::Literal, &content, piece);
            assert!(heard.is_text);
            let lines = [("one", false), ("two", false), ("xxxxxxxxxxxxxxxxxxxx", true), ("end", false)];
            assert_eq!(heard.lines, lines.map(|(text, is_cut)| (text.to_owned(), is_cut)), "{piece}");
        }
        assert!(!heard(Form::Literal, b"\x7fELF\0rest\n", 3).is_text);
        assert!(!heard(Form::Literal, b"", 3).is_text);
    }

    #[test]
    fn what_a_delta_adds_is_heard() {
        // 300 bytes become 312: copy 0..256, then two pieces that are new, then copy the rest.
        let delta = b"\xac\x02\xb8\x02\x90\x10\x06evil\nx\x06y\nend\n\x91\x20\x10";
        for piece in 1..delta.len() {
            let heard = heard(Form::Delta, delta, piece);
            let lines = ["evil", "xy", "end"].map(|text| (text.to_owned(), false));
            assert_eq!((heard.is_text, heard.lines), (true, lines.to_vec()), "{piece}");
        }
        assert!(!heard(Form::Delta, b"\x01\x01\x03\xff\xfe\xfd", 2).is_text);
    }
}
