use std::io::{self, BufRead};

use super::PatchError;

/// So much of a line is held, the rest is only counted as there. It is more than the longest header of a file
/// (two names of 4096 bytes, each byte of them quoted with four) and than any line that a person wrote.
pub(super) const KEPT_BYTES: usize = 64 << 10;

/// Of a line that is complained about, so much is shown.
const SHOWN_BYTES: usize = 60;

/// The lines of a patch, one at a time: the reader looks at the current one, then advances.
pub(super) struct LineReader<R> {
    input: R,
    kept: Vec<u8>,
    is_cut: bool,
    is_at_end: bool,
    number: u64,
}

impl<R: BufRead> LineReader<R> {
    pub(super) fn new(input: R) -> Result<Self, PatchError> {
        let mut lines = Self { input, kept: Vec::new(), is_cut: false, is_at_end: false, number: 0 };
        lines.advance()?;
        Ok(lines)
    }

    /// The number of the current line, counted from 1.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.is_at_end
    }

    /// The current line without its newline, and whether it is only the beginning of it. `None` at the end.
    pub(super) fn current(&self) -> Option<(&[u8], bool)> {
        (!self.is_at_end).then_some((self.kept.as_slice(), self.is_cut))
    }

    /// The current line, if it is there and could be held whole.
    pub(super) fn whole(&self) -> Option<&[u8]> {
        self.current().and_then(|(text, is_cut)| (!is_cut).then_some(text))
    }

    /// What follows `prefix` in the current line, if it could be held whole.
    pub(super) fn after(&self, prefix: &str) -> Option<&[u8]> {
        self.whole()?.strip_prefix(prefix.as_bytes())
    }

    /// Goes past the current line, which must be this one.
    pub(super) fn expect(&mut self, text: &[u8], expected: &'static str) -> Result<(), PatchError> {
        if self.whole() == Some(text) { self.advance() } else { Err(self.unexpected(expected)) }
    }

    pub(super) fn advance(&mut self) -> Result<(), PatchError> {
        self.kept.clear();
        self.is_cut = false;
        self.number += 1;
        let mut has_begun = false;
        loop {
            let available = match self.input.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(PatchError::Read(error)),
            };
            if available.is_empty() {
                self.is_at_end = true;
                return if has_begun {
                    Err(self.unexpected("a newline at the end of the line"))
                } else {
                    Ok(())
                };
            }
            has_begun = true;
            let newline = available.iter().position(|byte| *byte == b'\n');
            let piece = &available[..newline.unwrap_or(available.len())];
            let kept = piece.len().min(KEPT_BYTES - self.kept.len());
            self.kept.extend_from_slice(&piece[..kept]);
            self.is_cut |= kept < piece.len();
            let consumed = piece.len() + usize::from(newline.is_some());
            self.input.consume(consumed);
            if newline.is_some() {
                return Ok(());
            }
        }
    }

    /// The refusal of the current line.
    pub(super) fn unexpected(&self, expected: &'static str) -> PatchError {
        let found = match self.current() {
            None => "the end".to_owned(),
            Some((text, _)) if text.len() > SHOWN_BYTES => {
                format!("\"{}...\"", text[..SHOWN_BYTES].escape_ascii())
            }
            Some((text, _)) => format!("\"{}\"", text.escape_ascii()),
        };
        PatchError::Unexpected { line: self.number, expected, found }
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    #[test]
    fn a_long_line_is_held_in_part_and_skipped_as_a_whole() {
        let mut text = vec![b'x'; 3 * KEPT_BYTES];
        text.extend_from_slice(b"\nnext\n\n");
        let mut lines = LineReader::new(BufReader::with_capacity(1000, text.as_slice())).unwrap();
        let (kept, is_cut) = lines.current().unwrap();
        assert_eq!((kept.len(), is_cut), (KEPT_BYTES, true));
        assert_eq!(lines.whole(), None);
        lines.advance().unwrap();
        assert_eq!((lines.whole(), lines.number()), (Some(b"next".as_slice()), 2));
        lines.advance().unwrap();
        assert_eq!(lines.whole(), Some(b"".as_slice()));
        lines.advance().unwrap();
        assert!(lines.is_at_end() && lines.whole().is_none());
    }

    #[test]
    fn a_line_of_exactly_the_kept_size_is_whole() {
        let text = [vec![b'x'; KEPT_BYTES], b"\n".to_vec()].concat();
        let lines = LineReader::new(text.as_slice()).unwrap();
        assert_eq!(lines.whole().unwrap().len(), KEPT_BYTES);
    }

    #[test]
    fn the_last_line_has_its_newline() {
        let mut lines = LineReader::new(b"one\ntwo".as_slice()).unwrap();
        assert!(matches!(lines.advance(), Err(PatchError::Unexpected { line: 2, .. })));
    }
}
