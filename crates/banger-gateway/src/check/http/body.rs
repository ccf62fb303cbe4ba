//! Where the body of a request ends.

use crate::check::{LIMIT, too_large};
use crate::policy::Refusal;

use super::malformed;

#[derive(Debug)]
pub(super) enum Body {
    Length(u64),
    Chunked(Chunked),
}

/// Where in a chunked body the next byte is.
#[derive(Debug)]
pub(super) enum Chunked {
    Size {
        size: u64,
        digits: u8,
    },
    SizeLf {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    /// In the trailers: their length so far, and where in a line.
    Trailer {
        length: usize,
        at: Line,
    },
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    Start,
    Middle,
    /// After a CR; `is_empty` if the line has nothing else, which ends the body.
    Cr {
        is_empty: bool,
    },
}

impl Body {
    pub(super) fn of(length: u64) -> Self {
        Self::Length(length)
    }

    pub(super) fn chunked() -> Self {
        Self::Chunked(Chunked::Size { size: 0, digits: 0 })
    }

    pub(super) fn is_whole(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunked::End))
    }

    /// How many of these bytes belong to the body, and whether it is whole with them.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(usize, bool), Refusal> {
        let mut taken = 0;
        while taken < bytes.len() && !self.is_whole() {
            taken += match self {
                Self::Length(left) | Self::Chunked(Chunked::Data { left }) => {
                    take_of(left, bytes.len() - taken)
                }
                Self::Chunked(chunked) => {
                    chunked.take(bytes[taken])?;
                    1
                }
            };
            if let Self::Chunked(chunked @ Chunked::Data { left: 0 }) = self {
                *chunked = Chunked::DataCr;
            }
        }
        Ok((taken, self.is_whole()))
    }
}

fn take_of(left: &mut u64, available: usize) -> usize {
    let taken = usize::try_from(*left).map_or(available, |left| left.min(available));
    *left -= taken as u64;
    taken
}

impl Chunked {
    fn take(&mut self, byte: u8) -> Result<(), Refusal> {
        *self = match (&*self, byte) {
            (Self::Size { size, digits }, _) => Self::after_size(*size, *digits, byte)?,
            (Self::SizeLf { size: 0 }, b'\n') => Self::Trailer { length: 0, at: Line::Start },
            (Self::SizeLf { size }, b'\n') => Self::Data { left: *size },
            (Self::DataCr, b'\r') => Self::DataLf,
            (Self::DataLf, b'\n') => Self::Size { size: 0, digits: 0 },
            (Self::Trailer { length, at }, _) => Self::in_trailer(*length, *at, byte)?,
            _ => return Err(malformed("a chunk does not end where its size says")),
        };
        Ok(())
    }

    fn after_size(size: u64, digits: u8, byte: u8) -> Result<Self, Refusal> {
        match char::from(byte).to_digit(16) {
            // Fifteen digits cannot overflow, and no server counts further.
            Some(digit) if digits < 15 => {
                Ok(Self::Size { size: size * 16 + u64::from(digit), digits: digits + 1 })
            }
            None if digits > 0 && byte == b'\r' => Ok(Self::SizeLf { size }),
            // No client sends extensions, and servers have disagreed about where they end.
            _ => Err(malformed("the size of a chunk is no number, or has an extension")),
        }
    }

    fn in_trailer(length: usize, at: Line, byte: u8) -> Result<Self, Refusal> {
        if length == LIMIT {
            return Err(too_large("the trailer of an HTTP request"));
        }
        let at = match (at, byte) {
            (Line::Cr { is_empty: true }, b'\n') => return Ok(Self::End),
            (Line::Cr { is_empty: false }, b'\n') => Line::Start,
            (Line::Cr { .. }, _) => return Err(malformed("it has a CR inside a line")),
            (_, b'\r') => Line::Cr { is_empty: at == Line::Start },
            (_, b'\n') => return Err(malformed("a line ends in LF alone")),
            (_, 0) | (Line::Start, b' ' | b'\t') => {
                return Err(malformed("its trailer has a NUL or a folded line"));
            }
            _ => Line::Middle,
        };
        Ok(Self::Trailer { length: length + 1, at })
    }
}
