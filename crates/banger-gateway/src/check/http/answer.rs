//! The status of a server's first answer, which may have interim ones (100, 103) before it.

use crate::check::LIMIT;

/// Longer than any status line.
const MAX_LINE: usize = 1024;

/// What has been read of it.
#[derive(Debug)]
pub(super) enum Answer {
    StatusLine(Vec<u8>),
    /// The headers of an interim answer: bytes left of the limit, and whether the line is empty so far.
    Interim {
        left: usize,
        is_empty: bool,
    },
    /// 0 stands for something that is no answer of HTTP/1.
    Status(u16),
}

impl Default for Answer {
    fn default() -> Self {
        Self::StatusLine(Vec::new())
    }
}

impl Answer {
    pub(super) fn status(&self) -> Option<u16> {
        match self {
            Self::Status(status) => Some(*status),
            _ => None,
        }
    }

    pub(super) fn push(&mut self, from_server: &[u8]) {
        for byte in from_server {
            match self {
                Self::StatusLine(line) if *byte == b'\n' => {
                    *self = match status(line) {
                        100 | 102..200 => Self::Interim { left: LIMIT, is_empty: true },
                        status => Self::Status(status),
                    }
                }
                Self::StatusLine(line) if line.len() < MAX_LINE => line.push(*byte),
                Self::StatusLine(_) | Self::Interim { left: 0, .. } => *self = Self::Status(0),
                Self::Interim { is_empty: true, .. } if *byte == b'\n' => *self = Self::default(),
                Self::Interim { left, is_empty } => {
                    *left -= 1;
                    *is_empty = *byte == b'\n' || (*is_empty && *byte == b'\r');
                }
                Self::Status(_) => return,
            }
        }
    }
}

fn status(line: &[u8]) -> u16 {
    let digits = line.strip_prefix(b"HTTP/1.1 ").or_else(|| line.strip_prefix(b"HTTP/1.0 "));
    match digits {
        Some([a @ b'1'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', b' ' | b'\r', ..]) => {
            [a, b, c].iter().fold(0, |status, digit| status * 10 + u16::from(**digit - b'0'))
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_that_of_the_first_answer_that_is_no_interim_one() {
        for (text, expected) in [
            ("HTTP/1.1 101 Switching Protocols\r\n", Some(101)),
            ("HTTP/1.0 200 OK\r\n", Some(200)),
            ("HTTP/1.1 204\r\n", Some(204)),
            ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 x\r\n", Some(101)),
            ("HTTP/1.1 103 Hints\r\nLink: HTTP/1.1 101 x\r\n\r\nHTTP/1.1 404 x\r\n", Some(404)),
            ("HTTP/1.1 103 Hints\r\nLink: a\r\n", None),
            ("HTTP/1.1 10", None),
            ("HTTP/1.1 1010 x\r\n", Some(0)),
            ("HTTP/2 101 x\r\n", Some(0)),
            ("SSH-2.0-OpenSSH\r\nHTTP/1.1 101 x\r\n", Some(0)),
            ("\r\nHTTP/1.1 101 x\r\n", Some(0)),
        ] {
            let mut whole = Answer::default();
            whole.push(text.as_bytes());
            let mut split = Answer::default();
            text.as_bytes().chunks(1).for_each(|byte| split.push(byte));
            assert_eq!((whole.status(), split.status()), (expected, expected), "{text:?}");
        }
        let mut endless = Answer::default();
        endless.push(&[b'x'; 2000]);
        assert_eq!(endless.status(), Some(0));
    }
}
