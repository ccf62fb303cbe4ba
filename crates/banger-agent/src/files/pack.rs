//! From files to an archive.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use banger_guest_protocol::archive::{
    Entry, EntryKind, Looks, Note, OpenFile, Packed, Timestamp, Trouble, put_end, put_entry, put_file,
    put_note,
};
use bytes::Bytes;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use tokio::sync::mpsc;

use super::error::{FileError, printable};
use super::source::Source;
use crate::console;

/// What is sent at a time; small files go together.
const CHUNK_LEN: usize = 64 * 1024;

type Chunks = mpsc::Sender<io::Result<Bytes>>;

/// Packs `source` into `chunks`, with what symlinks lead to when they are to be followed. Ends early when
/// nobody takes them.
///
/// What cannot be read is left out and told of in a note, but for the source itself: without that there is no
/// archive.
pub(super) fn run(source: Source, follow: bool, chunks: Chunks) {
    let mut packer = Packer { out: Vec::with_capacity(CHUNK_LEN), chunks, follow };
    match packer.source(source) {
        Ok(()) => {
            put_end(&mut packer.out);
            // A host that went away misses nothing.
            let _sent = packer.send();
        }
        Err(Stop::Failed(error)) => {
            let reason = console::one_line(&error);
            put_note(&mut packer.out, &Note::Failed { reason });
            // Nobody is told where the host went away. The archive has no end, so it counts as broken; an
            // error of the stream could overtake the note.
            let _sent = packer.send();
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
    follow: bool,
}

/// A directory under way, and its path in the archive.
struct Level {
    entries: Dir,
    path: Vec<u8>,
    device: u64,
    inode: u64,
}

/// A directory that is still to be gone into.
struct Found {
    dir: OwnedFd,
    /// It was come upon over a symlink.
    followed: bool,
}

/// Why something is not in the archive.
enum Left {
    Errno(Errno),
    /// In the words that are said of it.
    Reason(String),
}

impl From<Errno> for Left {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl Packer {
    fn source(&mut self, source: Source) -> Result<(), Stop> {
        // Innermost last.
        let mut levels = Vec::new();
        let (path, begun) = match source {
            Source::Named { parent, name } => {
                let begun = self.named(parent.as_fd(), &name, &name, FileType::Unknown)?;
                (name, begun)
            }
            Source::Directory { dir, name } => (name, Ok(Some(Found { dir, followed: false }))),
        };
        match self.enter_if_directory(&mut levels, begun, &path)? {
            Ok(()) => self.walk(levels),
            Err(Left::Errno(errno)) => Err(FileError::at("read", &path, errno).into()),
            Err(Left::Reason(reason)) => Err(FileError::Unread { path: printable(&path), reason }.into()),
        }
    }

    /// Packs what is in `levels`.
    fn walk(&mut self, mut levels: Vec<Level>) -> Result<(), Stop> {
        while let Some(level) = levels.last_mut() {
            let Some(entry) = level.entries.read() else {
                levels.pop();
                continue;
            };
            let (path, packed) = match entry {
                Ok(entry) if entry.file_name() == c"." || entry.file_name() == c".." => continue,
                Ok(entry) => {
                    let name = entry.file_name().to_bytes();
                    let path = [&level.path, &b"/"[..], name].concat();
                    let packed = match level.entries.fd() {
                        Ok(parent) => self.named(parent, name, &path, entry.file_type())?,
                        Err(errno) => Err(errno.into()),
                    };
                    (path, packed)
                }
                Err(errno) => {
                    let path = std::mem::take(&mut level.path);
                    levels.pop();
                    (path, Err(errno.into()))
                }
            };
            if let Err(why) = self.enter_if_directory(&mut levels, packed, &path)? {
                self.left(path, why)?;
            }
        }
        Ok(())
    }

    /// Goes into what was packed, when that is a directory.
    fn enter_if_directory(
        &mut self,
        levels: &mut Vec<Level>,
        packed: Result<Option<Found>, Left>,
        path: &[u8],
    ) -> Result<Result<(), Left>, Stop> {
        match packed {
            Ok(Some(found)) => self.enter(levels, found, path),
            Ok(None) => Ok(Ok(())),
            Err(why) => Ok(Err(why)),
        }
    }

    /// Packs `name` in `parent`; a directory is left to be gone into.
    fn named(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        kind: FileType,
    ) -> Result<Result<Option<Found>, Left>, Stop> {
        let look = |flags| rustix::fs::statat(parent, name, flags);
        let mut kind = match kind {
            FileType::Unknown => look(AtFlags::SYMLINK_NOFOLLOW).map(|found| kind_of(&found)),
            known => Ok(known),
        };
        let mut nofollow = OFlags::NOFOLLOW;
        if self.follow && kind == Ok(FileType::Symlink) {
            nofollow = OFlags::empty();
            kind = match look(AtFlags::empty()) {
                Ok(found) => Ok(kind_of(&found)),
                Err(Errno::NOENT) => return Ok(Err(Left::Reason("is a symlink that leads nowhere".into()))),
                Err(errno) => Err(errno),
            };
        }
        // Opening must not wait for anything, should it have become a FIFO meanwhile.
        let flags = OFlags::RDONLY | nofollow | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let open = |more| rustix::fs::openat(parent, name, flags | more, Mode::empty());
        let packed = match kind {
            Ok(FileType::RegularFile) => match open(OFlags::empty()) {
                Ok(file) => return Ok(self.file(&file, path)?.map(|()| None)),
                Err(errno) => Err(errno),
            },
            Ok(FileType::Directory) => match open(OFlags::DIRECTORY) {
                Ok(dir) => return Ok(Ok(Some(Found { dir, followed: nofollow.is_empty() }))),
                Err(errno) => Err(errno),
            },
            Ok(FileType::Symlink) => look(AtFlags::SYMLINK_NOFOLLOW).and_then(|found| {
                let target = rustix::fs::readlinkat(parent, name, Vec::new())?.into_bytes();
                self.entry(path, EntryKind::Symlink { target }, &found);
                Ok(())
            }),
            Ok(_) => {
                put_note(&mut self.out, &Note::Skipped { path: path.to_vec() });
                Ok(())
            }
            Err(errno) => Err(errno),
        };
        self.send_if_full()?;
        Ok(packed.map(|()| None).map_err(Left::Errno))
    }

    /// Packs a directory, and goes into it, unless it is on another file system than the one that it was come
    /// upon in. Whoever has links followed has asked for where they lead.
    fn enter(
        &mut self,
        levels: &mut Vec<Level>,
        found: Found,
        path: &[u8],
    ) -> Result<Result<(), Left>, Stop> {
        let Found { dir, followed } = found;
        let opened = rustix::fs::fstat(&dir).and_then(|found| Ok((found, Dir::new(dir)?)));
        let (found, entries) = match opened {
            Ok(opened) => opened,
            Err(errno) => return Ok(Err(errno.into())),
        };
        let (device, inode) = (found.st_dev, found.st_ino);
        if levels.iter().any(|level| (level.device, level.inode) == (device, inode)) {
            return Ok(Err(Left::Reason("leads back to a directory that it is in".into())));
        }
        self.entry(path, EntryKind::Directory, &found);
        if levels.last().is_some_and(|above| above.device != device && !followed) {
            put_note(&mut self.out, &Note::Mount { path: path.to_vec() });
        } else {
            levels.push(Level { entries, path: path.to_vec(), device, inode });
        }
        self.send_if_full()?;
        Ok(Ok(()))
    }

    fn file(&mut self, file: &OwnedFd, path: &[u8]) -> Result<Result<(), Left>, Stop> {
        let found = match rustix::fs::fstat(file) {
            Ok(found) => found,
            Err(errno) => return Ok(Err(errno.into())),
        };
        if kind_of(&found) != FileType::RegularFile {
            put_note(&mut self.out, &Note::Skipped { path: path.to_vec() });
            return Ok(Ok(()));
        }
        let head = |kind| entry(path, kind, &found);
        let chunks = &self.chunks;
        let flush_if_full = |out: &mut Vec<u8>| send_if_full(out, chunks);
        match put_file(
            &mut self.out,
            head,
            Looks::new(found.st_size as u64, found.st_blocks as u64),
            &mut OpenFile(file),
            flush_if_full,
        )? {
            Packed::Whole => {}
            Packed::Cut { len, why } => {
                let (path, reason) = (path.to_vec(), why.to_string());
                put_note(&mut self.out, &Note::Cut { path, len, reason });
            }
            Packed::Left(why) => return Ok(Err(Left::Reason(why.to_string()))),
        }
        Ok(Ok(()))
    }

    /// Says what is not in the archive.
    fn left(&mut self, path: Vec<u8>, why: Left) -> Result<(), Stop> {
        let note = match why {
            // A process, in /proc.
            Left::Errno(Errno::NOENT | Errno::SRCH) => Note::Vanished { path },
            Left::Errno(errno) => Note::Unread { path, reason: Trouble::Read(errno.into()).to_string() },
            Left::Reason(reason) => Note::Unread { path, reason },
        };
        put_note(&mut self.out, &note);
        self.send_if_full()
    }

    fn entry(&mut self, path: &[u8], kind: EntryKind, found: &Stat) {
        put_entry(&mut self.out, &entry(path, kind, found));
    }

    fn send_if_full(&mut self) -> Result<(), Stop> {
        send_if_full(&mut self.out, &self.chunks)
    }

    fn send(&mut self) -> Result<(), Stop> {
        send(&mut self.out, &self.chunks)
    }
}

fn entry(path: &[u8], kind: EntryKind, found: &Stat) -> Entry {
    let mtime = Timestamp { seconds: found.st_mtime, nanoseconds: found.st_mtime_nsec as u32 };
    Entry { path: path.to_vec(), kind, mode: found.st_mode & 0o7777, mtime }
}

fn kind_of(found: &Stat) -> FileType {
    FileType::from_raw_mode(found.st_mode)
}

fn send_if_full(out: &mut Vec<u8>, chunks: &Chunks) -> Result<(), Stop> {
    // A read into the last few bytes of a chunk is a read wasted.
    if out.len() < CHUNK_LEN - CHUNK_LEN / 8 { Ok(()) } else { send(out, chunks) }
}

fn send(out: &mut Vec<u8>, chunks: &Chunks) -> Result<(), Stop> {
    let chunk = std::mem::replace(out, Vec::with_capacity(CHUNK_LEN));
    chunks.blocking_send(Ok(chunk.into())).map_err(|_| Stop::Unwanted)
}
