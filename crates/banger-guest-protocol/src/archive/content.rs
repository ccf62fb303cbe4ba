//! Files into an archive, whatever their size is said to be.
//!
//! A file's size comes before its content. So what is small is read first and its size told then; of what is
//! larger, the size that it had when it was opened goes out, and as many bytes: what was appended since is
//! not part of it, and what was cut off meanwhile is made up with zeros and told of.

use std::fmt;
use std::io;

use super::sparse::{self, Run};
use super::{Entry, EntryKind, put_entry, put_padding};

/// Files up to this size are read before their size is told.
const SMALL_LEN: u64 = 64 << 10;
/// Most that is read of a file that does not know its size, in bytes.
pub const SPOOL_MAX: usize = 32 << 20;
/// Content goes out in pieces of this size.
const PIECE_LEN: usize = 32 << 10;
/// No file holds more data than this: some in `/proc` say so.
const DATA_MAX: u64 = 1 << 44;
/// Holes of less than this, in all, are not worth a map.
const HOLES_MIN_LEN: u64 = 64 << 10;

/// An open file, as far as packing needs it.
pub trait Contents {
    /// Appends what comes next to `out`, into its spare capacity. 0 at the end.
    ///
    /// # Errors
    ///
    /// When it cannot be read; [`io::ErrorKind::WouldBlock`] when there is nothing yet.
    fn read(&mut self, out: &mut Vec<u8>) -> io::Result<usize>;

    /// Goes to a place and tells where that is; none when there is no such place. On a file system that knows
    /// no holes, all is data up to the end.
    ///
    /// # Errors
    ///
    /// When it cannot go there.
    fn seek(&mut self, to: SeekTo) -> io::Result<Option<u64>>;

    /// Its size by now, in bytes.
    ///
    /// # Errors
    ///
    /// When it cannot be looked at.
    fn size(&mut self) -> io::Result<u64>;
}

/// Where to go in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeekTo {
    Start(u64),
    /// The first data at or after this.
    Data(u64),
    /// The first hole, or the end, at or after this.
    Hole(u64),
}

/// What was known of a file when it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looks {
    pub size: u64,
    /// What it takes on its disk, in bytes. Nothing: it may be no file of a disk at all, and its size
    /// anything.
    pub allocated: u64,
}

impl Looks {
    /// From what `stat` says: its size in bytes, and its blocks of 512 bytes.
    pub fn new(size: u64, blocks: u64) -> Self {
        Self { size, allocated: blocks * 512 }
    }
}

/// What became of a file.
#[derive(Debug)]
pub enum Packed {
    Whole,
    /// It is in the archive, but only so many bytes of it are its own.
    Cut {
        len: u64,
        why: Trouble,
    },
    /// Nothing of it is in the archive.
    Left(Trouble),
}

/// Why a file is not, or not wholly, in an archive. Displays as what is said of the file: "was truncated".
#[derive(Debug)]
pub enum Trouble {
    Truncated,
    /// It gave less than its size.
    Short,
    /// Reading it would wait for ever.
    Waits,
    Endless,
    Size(u64),
    Read(io::Error),
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => write!(f, "was truncated while it was copied"),
            Self::Short => write!(f, "ended before its size"),
            Self::Waits => write!(f, "has no end: reading it waits for what is to come"),
            Self::Endless => {
                write!(f, "says nothing of its size and has no end within {} MiB", SPOOL_MAX >> 20)
            }
            Self::Size(size) => write!(f, "claims to be {size} bytes long"),
            Self::Read(error) => {
                let words = error.to_string();
                // Its number says nothing more to a person.
                let words = words.rsplit_once(" (os error ").map_or(&words[..], |(words, _)| words);
                write!(f, "could not be read: {words}")
            }
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::WouldBlock { Self::Waits } else { Self::Read(error) }
    }
}

/// Appends a file with its headers. `head` makes its entry; `flush_if_full` is called often, and may empty
/// `out`.
///
/// # Errors
///
/// Those of `flush_if_full`. What is the matter with the file is in the answer.
pub fn put_file<E>(
    out: &mut Vec<u8>,
    head: impl FnOnce(EntryKind) -> Entry,
    looks: Looks,
    file: &mut impl Contents,
    flush_if_full: impl FnMut(&mut Vec<u8>) -> Result<(), E>,
) -> Result<Packed, E> {
    let mut packing = Packing { out, file, flush_if_full, looks };
    if looks.size <= SMALL_LEN { packing.small(head) } else { packing.large(head) }
}

struct Packing<'a, C, S> {
    out: &'a mut Vec<u8>,
    file: &'a mut C,
    flush_if_full: S,
    looks: Looks,
}

impl<C: Contents, S, E> Packing<'_, C, S>
where
    S: FnMut(&mut Vec<u8>) -> Result<(), E>,
{
    fn small(&mut self, head: impl FnOnce(EntryKind) -> Entry) -> Result<Packed, E> {
        let content = match self.spool() {
            Ok(content) => content,
            Err(trouble) => return Ok(Packed::Left(trouble)),
        };
        let len = content.len() as u64;
        put_entry(self.out, &head(EntryKind::File { size: len }));
        for piece in content.chunks(PIECE_LEN) {
            self.out.extend_from_slice(piece);
            (self.flush_if_full)(self.out)?;
        }
        put_padding(self.out, len);
        (self.flush_if_full)(self.out)?;
        // One that says 4096 and holds three bytes goes on saying so.
        let is_shorter = len < self.looks.size && self.file.size().is_ok_and(|now| now < self.looks.size);
        Ok(if is_shorter { Packed::Cut { len, why: Trouble::Truncated } } else { Packed::Whole })
    }

    /// All of it, or as much as it had when it was opened.
    fn spool(&mut self) -> Result<Vec<u8>, Trouble> {
        let is_on_disk = self.looks.allocated > 0;
        let limit = if is_on_disk { self.looks.size as usize } else { SPOOL_MAX };
        let mut content = Vec::with_capacity((self.looks.size as usize).max(4096));
        while content.len() < limit || !is_on_disk {
            if content.spare_capacity_mut().is_empty() {
                content.reserve(PIECE_LEN);
            }
            if self.file.read(&mut content)? == 0 {
                break;
            }
            if !is_on_disk && content.len() > SPOOL_MAX {
                return Err(Trouble::Endless);
            }
        }
        // What was appended since is not part of it.
        content.truncate(limit);
        Ok(content)
    }

    fn large(&mut self, head: impl FnOnce(EntryKind) -> Entry) -> Result<Packed, E> {
        let size = self.looks.size;
        let (runs, first) = match self.begin() {
            Ok(begun) => begun,
            Err(trouble) => return Ok(Packed::Left(trouble)),
        };
        if first.is_empty() && !runs.is_empty() {
            put_entry(self.out, &head(EntryKind::File { size: 0 }));
            (self.flush_if_full)(self.out)?;
            let is_shorter = self.file.size().is_ok_and(|now| now < size);
            let cut = Packed::Cut { len: 0, why: Trouble::Truncated };
            return Ok(if is_shorter { cut } else { Packed::Whole });
        }
        let is_whole = runs == [Run { offset: 0, len: size }];
        let kind = if is_whole {
            EntryKind::File { size }
        } else {
            EntryKind::Sparse { size, runs: runs.clone().into() }
        };
        put_entry(self.out, &head(kind));
        let cut = self.data(&runs, &first)?;
        put_padding(self.out, sparse::stored(&runs));
        (self.flush_if_full)(self.out)?;
        Ok(cut.unwrap_or(Packed::Whole))
    }

    /// Where its data lies, and the first piece of it: what cannot be read at all is better left out.
    fn begin(&mut self) -> Result<(Vec<Run>, Vec<u8>), Trouble> {
        let Looks { size, allocated } = self.looks;
        let whole = Run { offset: 0, len: size };
        let mut runs =
            if allocated < size { sparse::find(size, |to| self.file.seek(to))? } else { vec![whole] };
        let data = sparse::stored(&runs);
        if data > DATA_MAX {
            return Err(Trouble::Size(size));
        }
        if size - data < HOLES_MIN_LEN {
            runs = vec![whole];
        }
        let mut first = Vec::new();
        if let Some(run) = runs.first() {
            if allocated < size {
                self.file.seek(SeekTo::Start(run.offset))?;
            }
            first.reserve(PIECE_LEN);
            self.file.read(&mut first)?;
            first.truncate(usize::try_from(run.len).unwrap_or(usize::MAX));
        }
        Ok((runs, first))
    }

    /// All data of `runs`. The answer tells where it came to its end too early, if it did.
    fn data(&mut self, runs: &[Run], first: &[u8]) -> Result<Option<Packed>, E> {
        let mut cut = None;
        for (at, run) in runs.iter().enumerate() {
            let mut left = run.len;
            if at == 0 {
                self.out.extend_from_slice(first);
                left -= first.len() as u64;
            }
            if cut.is_none() {
                let sought = if at == 0 { Ok(None) } else { self.file.seek(SeekTo::Start(run.offset)) };
                let why = match sought {
                    Ok(_) => self.run(&mut left)?,
                    Err(error) => Some(error.into()),
                };
                cut = why.map(|why| Packed::Cut { len: run.end() - left, why });
            }
            self.zeros(left)?;
        }
        Ok(cut)
    }

    /// The next `left` bytes, or why there are not as many.
    fn run(&mut self, left: &mut u64) -> Result<Option<Trouble>, E> {
        while *left > 0 {
            (self.flush_if_full)(self.out)?;
            if self.out.spare_capacity_mut().is_empty() {
                self.out.reserve(PIECE_LEN);
            }
            let count = match self.file.read(self.out) {
                Ok(0) => {
                    let is_shorter = self.file.size().is_ok_and(|now| now < self.looks.size);
                    return Ok(Some(if is_shorter { Trouble::Truncated } else { Trouble::Short }));
                }
                Ok(count) => count as u64,
                Err(error) => return Ok(Some(error.into())),
            };
            let surplus = count.saturating_sub(*left) as usize;
            self.out.truncate(self.out.len() - surplus);
            *left -= count - surplus as u64;
        }
        Ok(None)
    }

    fn zeros(&mut self, mut left: u64) -> Result<(), E> {
        while left > 0 {
            let count = left.min(PIECE_LEN as u64) as usize;
            self.out.resize(self.out.len() + count, 0);
            left -= count as u64;
            (self.flush_if_full)(self.out)?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "content_tests.rs"]
mod tests;
