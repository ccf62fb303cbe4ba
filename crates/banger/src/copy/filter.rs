use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;

use banger_api::files::archive::{Entry, EntryKind, Item, put_end, put_entry, put_padding, stored};
use bytes::Bytes;

use super::error::given;
use super::receive::Sink;
use super::{CopyError, Names};

/// Headers wait until there is this much of them, so that small files do not make small writes.
const PIECE_LEN: usize = 64 * 1024;

/// Writes a guest's archive out again, entry by entry: whoever unpacks it gets what was asked for, and
/// nothing else.
pub(crate) struct Filter<W> {
    names: Names,
    out: Vec<u8>,
    to: W,
    left: u64,
    limit: u64,
    /// The present file's bytes to come, and its size.
    file: (u64, u64),
}

impl Filter<File> {
    /// On stdout, at most `limit` bytes.
    pub(crate) fn stdout(names: Names, limit: u64) -> Result<Self, CopyError> {
        let stdout = io::stdout().as_fd().try_clone_to_owned().map_err(CopyError::Stdout)?;
        Ok(Self::new(names, stdout.into(), limit))
    }
}

impl<W: io::Write> Filter<W> {
    pub(super) fn new(names: Names, to: W, limit: u64) -> Self {
        Self { names, out: Vec::new(), to, left: limit, limit, file: (0, 0) }
    }

    fn entry(&mut self, entry: Entry) -> Result<(), CopyError> {
        let placed = self.names.place(&entry)?;
        let size = match &entry.kind {
            EntryKind::File { size } => *size,
            EntryKind::Sparse { runs, .. } => stored(runs),
            EntryKind::Directory | EntryKind::Symlink { .. } => 0,
            EntryKind::Hardlink { .. } | EntryKind::Other { .. } => {
                return Err(CopyError::Kind { name: given(&entry.path) });
            }
        };
        self.left = self.left.checked_sub(size).ok_or(CopyError::TooLarge { limit: self.limit })?;
        let path = if placed.is_root() { b".".to_vec() } else { placed.as_bytes().to_vec() };
        put_entry(&mut self.out, &Entry { path, mode: entry.mode & 0o777, ..entry });
        self.file = (size, size);
        self.flush_if_full()
    }

    fn data(&mut self, bytes: &Bytes) -> Result<(), CopyError> {
        self.out.extend_from_slice(bytes);
        self.file.0 -= bytes.len() as u64;
        if self.file.0 == 0 {
            put_padding(&mut self.out, self.file.1);
        }
        self.flush_if_full()
    }

    fn flush_if_full(&mut self) -> Result<(), CopyError> {
        if self.out.len() < PIECE_LEN { Ok(()) } else { self.flush() }
    }

    fn flush(&mut self) -> Result<(), CopyError> {
        self.to.write_all(&self.out).map_err(CopyError::Stdout)?;
        self.out.clear();
        Ok(())
    }
}

impl<W: io::Write> Sink for Filter<W> {
    fn take(&mut self, item: Item) -> Result<(), CopyError> {
        match item {
            Item::Entry(entry) => self.entry(entry),
            Item::Data(bytes) => self.data(&bytes),
            // The map has told of it, and zeros stand for what was cut off.
            Item::Hole(_) | Item::Note(_) | Item::End => Ok(()),
        }
    }

    fn finish(&mut self) -> Result<(), CopyError> {
        put_end(&mut self.out);
        self.flush()?;
        self.to.flush().map_err(CopyError::Stdout)
    }
}
