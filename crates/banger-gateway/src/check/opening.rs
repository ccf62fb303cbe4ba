//! The first bytes of a connection: TLS, HTTP, or something that is neither.
//!
//! Servers are lenient with the start of a request: they skip empty lines, take any white space between its
//! words, and methods of any length. So the first line that is not empty is looked at whole. If it has
//! `HTTP/` in it, in any case, it is read as HTTP, which must then be strictly correct; so is one that begins
//! with `GET`, which is a request of HTTP/0.9 as it stands. Any other line is none to any server, and the
//! rest of the connection is not looked at. Bytes go on as they come, until the line shows that it may be a
//! request.

use crate::policy::{Refusal, RefusalCode};

use super::LIMIT;

/// What has been seen of the first line.
#[derive(Debug, Default)]
pub(super) struct Opening {
    seen: Seen,
    server_spoke: bool,
}

#[derive(Debug, Default)]
enum Seen {
    #[default]
    Nothing,
    /// Fewer than five bytes, the first of which may start a hello in the format of SSL 2.
    Ssl2(Vec<u8>),
    Line(Line),
    /// A line that is no correct request any more (a NUL, too long): its last five bytes.
    Unreadable([u8; 5]),
}

/// A line, and how much of its start is blank.
#[derive(Debug, Default)]
struct Line {
    bytes: Vec<u8>,
    blank: usize,
}

#[derive(Debug)]
pub(super) enum Opened {
    NotYet,
    Tls,
    /// `line` has gone on already, but for nothing: its next byte is the one that showed that it is HTTP.
    Http {
        line: Vec<u8>,
        server_spoke: bool,
    },
    Other,
}

impl Opening {
    pub(super) fn answered(&mut self, from_server: &[u8]) {
        self.server_spoke |= !from_server.is_empty();
    }

    /// Takes bytes off `rest` until it is known what they are.
    pub(super) fn push(&mut self, rest: &mut &[u8], onward: &mut Vec<u8>) -> Result<Opened, Refusal> {
        while let Some((byte, after)) = rest.split_first() {
            let opened = self.take(*byte)?;
            match opened {
                Opened::NotYet => onward.push(*byte),
                // The byte belongs to what comes next.
                Opened::Tls | Opened::Http { .. } => return Ok(opened),
                Opened::Other => {
                    onward.push(*byte);
                    *rest = after;
                    return Ok(opened);
                }
            }
            *rest = after;
        }
        Ok(Opened::NotYet)
    }

    fn take(&mut self, byte: u8) -> Result<Opened, Refusal> {
        match &mut self.seen {
            Seen::Nothing if byte == 0x16 => Ok(Opened::Tls),
            Seen::Nothing if byte >= 0x80 => {
                self.seen = Seen::Ssl2(vec![byte]);
                Ok(Opened::NotYet)
            }
            Seen::Nothing => {
                self.seen = Seen::Line(Line::default());
                self.take_in_line(byte)
            }
            Seen::Ssl2(start) => {
                start.push(byte);
                let start = std::mem::take(start);
                self.take_ssl2(start)
            }
            Seen::Line(_) => self.take_in_line(byte),
            Seen::Unreadable(last) => {
                last.rotate_left(1);
                last[4] = byte;
                if ends_in_http(last) {
                    let sentence = "the first line of a request has a NUL in it or is too long to be read";
                    return Err(Refusal::new(RefusalCode::MalformedHttp, sentence));
                }
                Ok(if byte == b'\n' { Opened::Other } else { Opened::NotYet })
            }
        }
    }

    /// Old servers take a hello of SSL 2's format for TLS. It has no server name.
    fn take_ssl2(&mut self, start: Vec<u8>) -> Result<Opened, Refusal> {
        let [_, _, kind, major, minor] = start[..] else {
            self.seen = Seen::Ssl2(start);
            return Ok(Opened::NotYet);
        };
        if kind == 1 && (major == 3 || (major, minor) == (0, 2)) {
            let sentence = "a TLS hello in the format of SSL 2 has no server name";
            return Err(Refusal::new(RefusalCode::MalformedTls, sentence));
        }
        // Some servers take bytes above 0x7f for white space: look at them as a line after all.
        self.seen = Seen::Line(Line::default());
        let mut opened = Opened::NotYet;
        for byte in start {
            if let Opened::NotYet = opened {
                opened = self.take_in_line(byte)?;
            }
        }
        Ok(opened)
    }

    fn take_in_line(&mut self, byte: u8) -> Result<Opened, Refusal> {
        let Seen::Line(Line { bytes, blank }) = &mut self.seen else { return Ok(Opened::NotYet) };
        if *blank == bytes.len() && is_blank(byte) {
            *blank += 1;
        }
        bytes.push(byte);
        let text = &bytes[*blank..];
        let is_get = text.len() == 4 && text.starts_with(b"GET") && is_blank(byte);
        if is_get || ends_in_http(bytes) {
            bytes.pop();
            let line = std::mem::take(bytes);
            return Ok(Opened::Http { line, server_spoke: self.server_spoke });
        }
        if byte == b'\n' {
            if !text.is_empty() {
                return Ok(Opened::Other);
            }
            self.seen = Seen::Line(Line::default());
        } else if byte == 0 || bytes.len() == LIMIT {
            let mut last = [0; 5];
            let tail = bytes.len().min(5);
            last[5 - tail..].copy_from_slice(&bytes[bytes.len() - tail..]);
            self.seen = Seen::Unreadable(last);
        }
        Ok(Opened::NotYet)
    }
}

fn ends_in_http(bytes: &[u8]) -> bool {
    bytes.len() >= 5 && bytes[bytes.len() - 5..].eq_ignore_ascii_case(b"HTTP/")
}

/// What some server skips or takes for a space: controls, and what Latin-1 has as white space.
fn is_blank(byte: u8) -> bool {
    matches!(byte, 1..=0x20 | 0x85 | 0xa0)
}
