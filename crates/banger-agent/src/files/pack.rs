//! From files to an archive.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use banger_guest_protocol::archive::{
    Entry, EntryKind, Note, Timestamp, put_end, put_entry, put_note, put_padding,
};
use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::{Errno, retry_on_intr};
use tokio::sync::mpsc;

use super::error::{FileError, shown};
use super::source::Source;
use crate::console;
use crate::system_error::SystemError;

/// What is sent at a time; small files go together.
const CHUNK_LEN: usize = 64 * 1024;

type Chunks = mpsc::Sender<io::Result<Bytes>>;

/// Packs `source` into `chunks`. Ends early when nobody takes them.
pub(super) fn run(source: Source, chunks: Chunks) {
    let mut packer = Packer { out: Vec::with_capacity(CHUNK_LEN), chunks };
    match packer.source(source) {
        Ok(()) => {
            put_end(&mut packer.out);
            // A host that went away misses nothing.
            let _sent = packer.send();
        }
        Err(Stop::Failed(error)) => {
            let reason = console::one_line(&error);
            put_note(&mut packer.out, &Note::Failed { reason: reason.clone() });
            // Neither can be told to a host that went away.
            let _sent = packer.send();
            // As above.
            let _sent = packer.chunks.blocking_send(Err(io::Error::other(reason)));
        }
        Err(Stop::Unwanted) => {}
    }
}

/// Why packing does not go on.
enum Stop {
    Failed(FileError),
    /// Nobody takes the archive any more.
    Unwanted,
}

impl From<FileError> for Stop {
    fn from(error: FileError) -> Self {
        Self::Failed(error)
    }
}

struct Packer {
    out: Vec<u8>,
    chunks: Chunks,
}

/// A directory under way, and its path in the archive.
struct Level {
    entries: Dir,
    path: Vec<u8>,
}

impl Packer {
    fn source(&mut self, source: Source) -> Result<(), Stop> {
        let mut levels = Vec::new();
        match source {
            Source::Named { parent, name } => {
                levels.extend(self.named(parent.as_fd(), &name, name.clone(), FileType::Unknown)?);
            }
            Source::Directory { dir, name } => levels.push(self.directory(dir, name)?),
        }
        while let Some(level) = levels.last_mut() {
            let Some(entry) = level.entries.read() else {
                levels.pop();
                continue;
            };
            let entry = entry.map_err(|errno| failed("list", &level.path, errno))?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let path = [&level.path, &b"/"[..], name.to_bytes()].concat();
            let parent = level.entries.fd().map_err(|errno| failed("list", &level.path, errno))?;
            let below = self.named(parent, name.to_bytes(), path, entry.file_type())?;
            levels.extend(below);
        }
        Ok(())
    }

    /// Packs `name` in `parent`; a directory's entries are left to do.
    fn named(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: Vec<u8>,
        kind: FileType,
    ) -> Result<Option<Level>, Stop> {
        let look = || rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW);
        let kind = match kind {
            FileType::Unknown => look().map(|found| FileType::from_raw_mode(found.st_mode)),
            known => Ok(known),
        };
        // Opening must not wait for anything, should it have become a FIFO meanwhile.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let open = |more| rustix::fs::openat(parent, name, flags | more, Mode::empty());
        let packed = match kind {
            Ok(FileType::RegularFile) => match open(OFlags::empty()) {
                Ok(file) => return self.file(&file, path).map(|()| None),
                Err(errno) => Err(errno),
            },
            Ok(FileType::Directory) => match open(OFlags::DIRECTORY) {
                Ok(dir) => return self.directory(dir, path).map(Some),
                Err(errno) => Err(errno),
            },
            Ok(FileType::Symlink) => look().and_then(|found| {
                let target = rustix::fs::readlinkat(parent, name, Vec::new())?.into_bytes();
                self.entry(path.clone(), EntryKind::Symlink { target }, &found);
                Ok(())
            }),
            Ok(_) => {
                put_note(&mut self.out, &Note::Skipped { path: path.clone() });
                Ok(())
            }
            Err(errno) => Err(errno),
        };
        match packed {
            // Gone since its directory was listed: as if it had never been there.
            Ok(()) | Err(Errno::NOENT) => Ok(self.send_if_full().map(|()| None)?),
            Err(errno) => Err(failed("read", &path, errno).into()),
        }
    }

    fn directory(&mut self, dir: OwnedFd, path: Vec<u8>) -> Result<Level, Stop> {
        let opened = || Ok((rustix::fs::fstat(&dir)?, Dir::read_from(&dir)?));
        let (found, entries) = opened().map_err(|errno| failed("list", &path, errno))?;
        self.entry(path.clone(), EntryKind::Directory, &found);
        Ok(Level { entries, path })
    }

    fn file(&mut self, file: &OwnedFd, path: Vec<u8>) -> Result<(), Stop> {
        let found = rustix::fs::fstat(file).map_err(|errno| failed("read", &path, errno))?;
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
            put_note(&mut self.out, &Note::Skipped { path });
            return Ok(());
        }
        let size = found.st_size as u64;
        self.entry(path.clone(), EntryKind::File { size }, &found);
        let mut left = size;
        while left > 0 {
            self.send_if_full()?;
            let count = retry_on_intr(|| rustix::io::read(file, spare_capacity(&mut self.out)))
                .map_err(|errno| failed("read", &path, errno))?;
            if count == 0 {
                return Err(FileError::Shrank { path: shown(&path) }.into());
            }
            // What was appended since is not part of it.
            let surplus = (count as u64).saturating_sub(left) as usize;
            self.out.truncate(self.out.len() - surplus);
            left -= (count - surplus) as u64;
        }
        put_padding(&mut self.out, size);
        self.send_if_full()
    }

    fn entry(&mut self, path: Vec<u8>, kind: EntryKind, found: &Stat) {
        let mtime = Timestamp { seconds: found.st_mtime, nanoseconds: found.st_mtime_nsec as u32 };
        put_entry(&mut self.out, &Entry { path, kind, mode: found.st_mode & 0o7777, mtime });
    }

    fn send_if_full(&mut self) -> Result<(), Stop> {
        // A read into the last few bytes of a chunk is a read wasted.
        if self.out.len() < CHUNK_LEN - CHUNK_LEN / 8 { Ok(()) } else { self.send() }
    }

    fn send(&mut self) -> Result<(), Stop> {
        let chunk = std::mem::replace(&mut self.out, Vec::with_capacity(CHUNK_LEN));
        self.chunks.blocking_send(Ok(chunk.into())).map_err(|_| Stop::Unwanted)
    }
}

fn failed(action: &'static str, path: &[u8], errno: Errno) -> FileError {
    SystemError::new(action, shown(path), errno).into()
}
