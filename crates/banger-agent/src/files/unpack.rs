//! From an archive to files. One `openat`, `write`, `futimens` and `close` for a small one, as long as the
//! archive keeps to a directory.

use std::ffi::OsStr;
use std::io::{Seek as _, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use banger_guest_protocol::archive::{Decoder, Entry, EntryKind, EntryPath, Item, Note, Timestamp};
use banger_guest_protocol::messages::{Unpack, Unpacked};
use bytes::Bytes;
use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;
use tokio::sync::mpsc;

use super::beneath::{Beneath, PARENT_MODE};
use super::error::{FileError, printable};
use crate::system_error::{Context, SystemError};

const NEW_FILE: OFlags =
    OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Set-user-id, set-group-id and sticky.
const SPECIAL: Mode = Mode::from_raw_mode(0o7000);

/// Unpacks what comes in as `chunks`.
pub(super) fn run(what: &Unpack, chunks: mpsc::Receiver<Bytes>) -> Result<Unpacked, FileError> {
    let path = what.dir.as_bytes();
    if !path.starts_with(b"/") {
        return Err(FileError::NotAbsolute { path: printable(path) });
    }
    if what.create {
        rustix::fs::mkdir(path, PARENT_MODE)
            .map_err(|errno| FileError::at("make the directory", path, errno))?;
    }
    let unpacked = unpack(path, chunks);
    if what.create && unpacked.is_err() {
        // What is left of it then is left; the failure itself is the better thing to tell.
        let _removed = std::fs::remove_dir_all(Path::new(OsStr::from_bytes(path)));
    }
    unpacked
}

fn unpack(path: &[u8], mut chunks: mpsc::Receiver<Bytes>) -> Result<Unpacked, FileError> {
    let mut unpacker = Unpacker::new(Beneath::open(path)?);
    let mut decoder = Decoder::default();
    while let Some(chunk) = chunks.blocking_recv() {
        decoder.push(chunk);
        while let Some(item) = decoder.next()? {
            match item {
                Item::Entry(entry) => unpacker.entry(&entry)?,
                Item::Data(bytes) => unpacker.data(Piece::Data(&bytes))?,
                Item::Hole(len) => unpacker.data(Piece::Hole(len))?,
                Item::Note(Note::Cut { len, .. }) => unpacker.cut(len)?,
                Item::Note(_) | Item::End => {}
            }
        }
    }
    decoder.finish()?;
    unpacker.finish()
}

struct Unpacker {
    root: Beneath,
    /// The directory of the latest entry: most often that of the next one, too.
    parent: Option<(Vec<u8>, OwnedFd)>,
    /// Directories that the archive is in. What is written into them changes their time, so they get it
    /// afterwards.
    dirs: Vec<Dir>,
    file: Option<OpenFile>,
    /// The latest file that is all there, until the next entry.
    latest: Option<OpenFile>,
    /// Bits that the kernel takes away from a new file's mode.
    umask: u32,
    done: Unpacked,
}

struct Dir {
    path: Vec<u8>,
    /// None when it has its mode already.
    mode: Option<Mode>,
    mtime: Timestamp,
}

/// What comes next of a file.
enum Piece<'a> {
    Data(&'a [u8]),
    /// So many zeros.
    Hole(u64),
}

struct OpenFile {
    file: std::fs::File,
    path: EntryPath,
    left: u64,
    /// None when it has its mode already. What is written takes away special bits, but from root.
    mode: Option<Mode>,
    mtime: Timestamp,
}

impl Unpacker {
    fn new(root: Beneath) -> Self {
        let (parent, dirs, file, latest) = (None, Vec::new(), None, None);
        Self { root, parent, dirs, file, latest, umask: umask(), done: Unpacked::default() }
    }

    fn entry(&mut self, entry: &Entry) -> Result<(), FileError> {
        let refused = |source| FileError::Name { name: printable(&entry.path), source };
        let path = EntryPath::parse_as_tar(&entry.path).map_err(refused)?;
        self.latest = None;
        self.leave_dirs(|dir| is_below(path.as_bytes(), dir))?;
        match &entry.kind {
            EntryKind::Directory => return self.directory(&path, entry),
            _ if path.is_root() => return Err(FileError::InTheWay { path: self.root.printable(b"") }),
            EntryKind::File { size } => {
                self.new_file(&path, *size, entry)?;
                self.data(Piece::Data(&[]))?;
            }
            EntryKind::Sparse { size, .. } => self.new_sparse_file(&path, *size, entry)?,
            EntryKind::Symlink { target } => self.symlink(&path, target, entry.mtime)?,
            EntryKind::Hardlink { target } => self.hardlink(&path, target)?,
            EntryKind::Other { .. } => return Err(FileError::Kind { name: printable(&entry.path) }),
        }
        self.done.files += 1;
        Ok(())
    }

    fn new_file(&mut self, path: &EntryPath, size: u64, entry: &Entry) -> Result<(), FileError> {
        let mode = Mode::from_raw_mode(entry.mode);
        let fd =
            self.put(path, |parent| rustix::fs::openat(parent, path.name(), NEW_FILE, mode & !SPECIAL))?;
        let mode = (entry.mode & (self.umask | SPECIAL.as_raw_mode()) != 0).then_some(mode);
        let (path, left, mtime) = (path.clone(), size, entry.mtime);
        self.file = Some(OpenFile { file: fd.into(), path, left, mode, mtime });
        Ok(())
    }

    fn new_sparse_file(&mut self, path: &EntryPath, size: u64, entry: &Entry) -> Result<(), FileError> {
        self.new_file(path, size, entry)?;
        let sized = self.file.as_ref().map_or(Ok(()), |open| open.file.set_len(size));
        sized.context("write", self.root.printable(path.as_bytes()))?;
        if size == 0 { self.data(Piece::Data(&[])) } else { Ok(()) }
    }

    /// Appends to the latest file.
    fn data(&mut self, piece: Piece<'_>) -> Result<(), FileError> {
        let Some(open) = &mut self.file else { return Ok(()) };
        let mut write = || {
            let len = match piece {
                Piece::Data(bytes) => {
                    open.file.write_all(bytes)?;
                    bytes.len() as u64
                }
                Piece::Hole(len) => {
                    open.file.seek(SeekFrom::Current(len as i64))?;
                    len
                }
            };
            open.left -= len;
            if open.left == 0 {
                open.mode.map_or(Ok(()), |mode| rustix::fs::fchmod(&open.file, mode))?;
                set_mtime(&open.file, open.mtime)?;
            }
            Ok(len)
        };
        let written: std::io::Result<u64> = write();
        let len = written
            .map_err(|error| SystemError::new("write", self.root.printable(open.path.as_bytes()), error))?;
        self.done.bytes += len;
        if open.left == 0 {
            self.latest = self.file.take();
        }
        Ok(())
    }

    /// Only so much of the latest file is its own.
    fn cut(&mut self, len: u64) -> Result<(), FileError> {
        let Some(open) = &self.latest else { return Ok(()) };
        let cut = || {
            let surplus = open.file.metadata()?.len().saturating_sub(len);
            if surplus > 0 {
                open.file.set_len(len)?;
                set_mtime(&open.file, open.mtime)?;
            }
            Ok(surplus)
        };
        let surplus: std::io::Result<u64> = cut();
        self.done.bytes -= surplus.context("write", self.root.printable(open.path.as_bytes()))?;
        Ok(())
    }

    fn symlink(&mut self, path: &EntryPath, target: &[u8], mtime: Timestamp) -> Result<(), FileError> {
        self.put(path, |parent| {
            rustix::fs::symlinkat(target, parent, path.name())?;
            rustix::fs::utimensat(parent, path.name(), &times(mtime), AtFlags::SYMLINK_NOFOLLOW)
        })
    }

    fn hardlink(&mut self, path: &EntryPath, target: &[u8]) -> Result<(), FileError> {
        let refused = |source| FileError::Name { name: printable(target), source };
        let target = EntryPath::parse_as_tar(target).map_err(refused)?;
        if target == *path {
            return Ok(());
        }
        let target_dir =
            self.root.open_dir(target.parent()).context("find", self.root.printable(target.as_bytes()))?;
        self.put(path, |parent| {
            rustix::fs::linkat(&target_dir, target.name(), parent, path.name(), AtFlags::empty())
        })
    }

    fn directory(&mut self, path: &EntryPath, entry: &Entry) -> Result<(), FileError> {
        let mode = Mode::from_raw_mode(entry.mode);
        let mut made = false;
        let is_there = path.is_root() || {
            let parent = self.parent(path)?;
            match rustix::fs::mkdirat(parent, path.name(), mode) {
                Ok(()) => made = true,
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(self.failed("make the directory", path, errno)),
            }
            // A symlink to a directory inside is as good as one.
            made || self.root.open_dir(path.as_bytes()).is_ok()
        };
        if !is_there {
            self.put(path, |parent| rustix::fs::mkdirat(parent, path.name(), mode))?;
            made = true;
        }
        let has_mode = made && entry.mode & (self.umask | SPECIAL.as_raw_mode()) == 0;
        let path = path.as_bytes().to_vec();
        self.dirs.push(Dir { path, mode: (!has_mode).then_some(mode), mtime: entry.mtime });
        Ok(())
    }

    /// Makes something in place of what is there, directories excepted.
    fn put<T>(
        &mut self,
        path: &EntryPath,
        make: impl Fn(BorrowedFd<'_>) -> Result<T, Errno>,
    ) -> Result<T, FileError> {
        let parent = self.parent(path)?;
        let made = match make(parent) {
            Err(Errno::EXIST) => {
                rustix::fs::unlinkat(parent, path.name(), AtFlags::empty()).and_then(|()| make(parent))
            }
            other => other,
        };
        made.map_err(|errno| match errno {
            Errno::ISDIR => FileError::InTheWay { path: self.root.printable(path.as_bytes()) },
            errno => self.failed("write", path, errno),
        })
    }

    /// The directory that `path` is in, made when it is missing.
    fn parent(&mut self, path: &EntryPath) -> Result<BorrowedFd<'_>, FileError> {
        let wanted = path.parent();
        if wanted.is_empty() {
            return Ok(self.root.as_fd());
        }
        if self.parent.as_ref().is_none_or(|(path, _)| path != wanted) {
            self.parent = Some((wanted.to_vec(), self.root.make_dir(wanted)?));
        }
        Ok(self.parent.as_ref().map_or(self.root.as_fd(), |(_, fd)| fd.as_fd()))
    }

    /// Finishes the directories that the archive has left: the innermost ones that are not to be kept.
    fn leave_dirs(&mut self, keep: impl Fn(&[u8]) -> bool) -> Result<(), FileError> {
        while let Some(dir) = self.dirs.pop_if(|dir| !keep(&dir.path)) {
            let known = self.parent.as_ref().filter(|(path, _)| *path == dir.path);
            let opened = match known {
                Some(_) => None,
                None => Some(
                    self.root
                        .open_dir(&dir.path)
                        .context("open the directory", self.root.printable(&dir.path))?,
                ),
            };
            let fd = opened.as_ref().or(known.map(|(_, fd)| fd)).map_or(self.root.as_fd(), |fd| fd.as_fd());
            let finish = || {
                dir.mode.map_or(Ok(()), |mode| rustix::fs::fchmod(fd, mode))?;
                set_mtime(fd, dir.mtime)
            };
            finish().context("set mode and time of", self.root.printable(&dir.path))?;
        }
        Ok(())
    }

    fn failed(&self, action: &'static str, path: &EntryPath, errno: Errno) -> FileError {
        SystemError::new(action, self.root.printable(path.as_bytes()), errno).into()
    }

    fn finish(mut self) -> Result<Unpacked, FileError> {
        self.leave_dirs(|_| false)?;
        Ok(self.done)
    }
}

impl Drop for Unpacker {
    /// A file that is not all there goes.
    fn drop(&mut self) {
        if let Some(open) = self.file.take()
            && let Ok(parent) = self.parent(&open.path)
        {
            // The error that made us stop is on its way already; this would only hide it.
            let _removed = rustix::fs::unlinkat(parent, open.path.name(), AtFlags::empty());
        }
    }
}

/// Is `path` somewhere in `dir`?
fn is_below(path: &[u8], dir: &[u8]) -> bool {
    dir.is_empty() || path.strip_prefix(dir).is_some_and(|rest| rest.starts_with(b"/"))
}

fn set_mtime(fd: impl AsFd, mtime: Timestamp) -> std::io::Result<()> {
    Ok(rustix::fs::futimens(fd, &times(mtime))?)
}

fn times(mtime: Timestamp) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanoseconds.into() },
    }
}

/// This process's umask. There is no call that only asks.
fn umask() -> u32 {
    // Without it nobody gets a right that the umask might have taken.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|octal| u32::from_str_radix(octal.trim(), 8).ok()).unwrap_or(0o777)
}
