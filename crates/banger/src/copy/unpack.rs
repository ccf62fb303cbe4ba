//! From a guest's archive to local files. Nothing in it is believed.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use banger_api::files::archive::{Entry, EntryKind, EntryPath, Item, Note, Run, Timestamp};
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, Timespec, Timestamps, UTIME_OMIT};
use rustix::io::Errno;

use super::error::given;
use super::receive::Sink;
use super::room::{Room, Short};
use super::{CopyError, Names, Target};

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
const NEW_FILE: OFlags =
    OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

const NAMELESS_FILE: OFlags = OFlags::WRONLY.union(OFlags::TMPFILE).union(OFlags::CLOEXEC);

/// Nobody else looks into what is not all there.
const PRIVATE_FILE: Mode = Mode::from_raw_mode(0o600);
const PRIVATE_DIR: Mode = Mode::from_raw_mode(0o700);

/// What every entry counts, whatever its size: a guest can also fill a disk with empty files.
const ENTRY_BYTES: u64 = 4096;

/// Writes below one directory: the kernel holds every path to it, over no symlink, wherever that one leads.
pub(crate) struct Unpacker {
    root: OwnedFd,
    root_path: PathBuf,
    names: Names,
    /// Bytes that may still come.
    left: u64,
    limit: u64,
    /// The directory of the latest entry.
    parent: Option<(Vec<u8>, OwnedFd)>,
    /// New directories that the archive is in. They get their mode and time when it leaves them.
    dirs: Vec<Dir>,
    file: Option<Unfinished>,
    /// The latest file that has its name, until the next entry.
    latest: Option<Unfinished>,
    room: Room,
    /// Has the file system files without a name? NFS and some of FUSE have not.
    pub(super) nameless: bool,
}

struct Dir {
    path: Vec<u8>,
    mode: Mode,
    mtime: Timestamp,
}

/// What comes next of a file.
enum Piece<'a> {
    Data(&'a [u8]),
    /// So many zeros.
    Hole(u64),
}

/// A file that is not all there.
struct Unfinished {
    file: File,
    /// Its name until then, where the file system has no files without one: those go with whoever wrote them.
    temporary: Option<String>,
    path: EntryPath,
    left: u64,
    mode: Mode,
    mtime: Timestamp,
}

impl Unpacker {
    /// Unpacks at most `limit` bytes.
    pub(crate) fn new(target: Target, limit: u64) -> Result<Self, CopyError> {
        let Target { root: root_path, names } = target;
        let root = rustix::fs::open(&root_path, DIRECTORY, Mode::empty())
            .map_err(|errno| CopyError::io("open", &root_path)(errno.into()))?;
        let (parent, dirs, file, latest, room) = (None, Vec::new(), None, None, Room::default());
        Ok(Self {
            root,
            root_path,
            names,
            left: limit,
            limit,
            parent,
            dirs,
            file,
            latest,
            room,
            nameless: true,
        })
    }

    fn entry(&mut self, entry: &Entry) -> Result<(), CopyError> {
        let path = self.names.place(entry)?;
        self.latest = None;
        let taken = ENTRY_BYTES.saturating_add(on_disk(&entry.kind));
        self.left = self.left.checked_sub(taken).ok_or(CopyError::TooLarge { limit: self.limit })?;
        self.leave_dirs(|dir| is_below(path.as_bytes(), dir))?;
        // setuid, setgid and sticky bits are for the guest.
        let mode = Mode::from_raw_mode(entry.mode & 0o777);
        match &entry.kind {
            EntryKind::Directory if path.is_root() => Ok(()),
            EntryKind::Directory => self.directory(&path, mode, entry.mtime),
            EntryKind::File { size } => {
                self.new_file(path, *size, mode, entry.mtime, taken)?;
                self.data(Piece::Data(&[]))
            }
            EntryKind::Sparse { size, .. } => {
                self.new_file(path.clone(), *size, mode, entry.mtime, taken)?;
                let sized = self.file.as_ref().map_or(Ok(()), |open| open.file.set_len(*size));
                sized.map_err(|source| self.unwritten(&path, source))?;
                if *size == 0 { self.data(Piece::Data(&[])) } else { Ok(()) }
            }
            EntryKind::Symlink { target } => {
                let mtime = entry.mtime;
                let (temporary, ()) = self.temporary(&path, |parent, name| {
                    rustix::fs::symlinkat(&target[..], parent, name)?;
                    rustix::fs::utimensat(parent, name, &times(mtime), AtFlags::SYMLINK_NOFOLLOW)
                })?;
                self.publish(&temporary, &path)
            }
            // The agent packs a file with two names twice: a hardlink could only be one to a file of ours.
            EntryKind::Hardlink { .. } | EntryKind::Other { .. } => {
                Err(CopyError::Kind { name: given(&entry.path) })
            }
        }
    }

    /// A new file, which takes `taken` bytes of the disk.
    fn new_file(
        &mut self,
        path: EntryPath,
        left: u64,
        mode: Mode,
        mtime: Timestamp,
        taken: u64,
    ) -> Result<(), CopyError> {
        self.parent(&path)?;
        let place =
            self.parent.as_ref().filter(|_| !path.parent().is_empty()).map_or(&self.root, |(_, fd)| fd);
        let short = self.room.take(place, taken).map_err(|source| self.unwritten(&path, source))?;
        if let Some(Short { free, floor }) = short {
            return Err(CopyError::NoRoom { path: self.host_path(path.parent()), free, floor });
        }
        let nameless = || rustix::fs::openat(place, ".", NAMELESS_FILE, PRIVATE_FILE).ok();
        let (temporary, fd) = if let Some(fd) = self.nameless.then(nameless).flatten() {
            (None, fd)
        } else {
            // Whatever else may be wrong with the directory is wrong for a file with a name, too.
            self.nameless = false;
            let open =
                |parent: BorrowedFd<'_>, name: &str| rustix::fs::openat(parent, name, NEW_FILE, PRIVATE_FILE);
            let (name, fd) = self.temporary(&path, open)?;
            (Some(name), fd)
        };
        self.file = Some(Unfinished { file: fd.into(), temporary, path, left, mode, mtime });
        Ok(())
    }

    /// Appends to the latest file, which gets its name when it is all there.
    fn data(&mut self, piece: Piece<'_>) -> Result<(), CopyError> {
        let Some(open) = &mut self.file else { return Ok(()) };
        let write = |open: &mut Unfinished| {
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
                rustix::fs::fchmod(&open.file, open.mode)?;
                rustix::fs::futimens(&open.file, &times(open.mtime))?;
            }
            Ok(())
        };
        let (written, is_whole) = (write(open), open.left == 0);
        if let Err(source) = written {
            let path = open.path.clone();
            return Err(self.unwritten(&path, source));
        }
        if is_whole && let Some(open) = self.file.take() {
            match &open.temporary {
                Some(name) => self.publish(name, &open.path)?,
                None => self.name(&open.file, &open.path)?,
            }
            self.latest = Some(open);
        }
        Ok(())
    }

    /// Only so much of the latest file is its own.
    fn cut(&self, len: u64) -> Result<(), CopyError> {
        let Some(open) = &self.latest else { return Ok(()) };
        let cut = || {
            if open.file.metadata()?.len() > len {
                open.file.set_len(len)?;
                rustix::fs::futimens(&open.file, &times(open.mtime))?;
            }
            Ok(())
        };
        cut().map_err(|source| self.unwritten(&open.path, source))
    }

    fn unwritten(&self, path: &EntryPath, source: io::Error) -> CopyError {
        CopyError::Io { action: "write", path: self.host_path(path.as_bytes()), source }
    }

    fn directory(&mut self, path: &EntryPath, mode: Mode, mtime: Timestamp) -> Result<(), CopyError> {
        match rustix::fs::mkdirat(self.parent(path)?, path.name(), PRIVATE_DIR) {
            Ok(()) => {
                self.dirs.push(Dir { path: path.as_bytes().to_vec(), mode, mtime });
                Ok(())
            }
            // One that was here before stays as it is.
            Err(Errno::EXIST) if self.open_dir(path.as_bytes()).is_ok() => Ok(()),
            Err(Errno::EXIST) => Err(CopyError::InTheWay { path: self.host_path(path.as_bytes()) }),
            Err(errno) => Err(self.failed("make the directory", path.as_bytes(), errno)),
        }
    }

    /// Makes something under a name of its own, beside where it belongs.
    fn temporary<T>(
        &mut self,
        path: &EntryPath,
        make: impl Fn(BorrowedFd<'_>, &str) -> Result<T, Errno>,
    ) -> Result<(String, T), CopyError> {
        let parent = self.parent(path)?;
        let outcome = loop {
            let mut random = [0; 8];
            getrandom::fill(&mut random).expect("Linux has random bytes for whoever asks");
            let name = format!(".banger-{:016x}", u64::from_ne_bytes(random));
            match make(parent, &name) {
                Err(Errno::EXIST) => {}
                Ok(made) => break Ok((name, made)),
                Err(errno) => break Err(errno),
            }
        };
        outcome.map_err(|errno| self.failed("write", path.as_bytes(), errno))
    }

    /// Gives a file without a name its name. Only where there is something already does it need another one
    /// before.
    fn name(&mut self, file: &File, path: &EntryPath) -> Result<(), CopyError> {
        let from = format!("/proc/self/fd/{}", file.as_raw_fd());
        let link = |parent: BorrowedFd<'_>, name: &OsStr| {
            rustix::fs::linkat(rustix::fs::CWD, &from, parent, name, AtFlags::SYMLINK_FOLLOW)
        };
        match link(self.parent(path)?, OsStr::from_bytes(path.name())) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => {
                let (temporary, ()) = self.temporary(path, |parent, name| link(parent, OsStr::new(name)))?;
                self.publish(&temporary, path)
            }
            Err(errno) => Err(self.failed("write", path.as_bytes(), errno)),
        }
    }

    /// Gives it its name, in place of what is there.
    fn publish(&mut self, temporary: &str, path: &EntryPath) -> Result<(), CopyError> {
        let parent = self.parent(path)?;
        let Err(errno) = rustix::fs::renameat(parent, temporary, parent, path.name()) else { return Ok(()) };
        // The failure to rename it is the better thing to tell.
        let _removed = rustix::fs::unlinkat(parent, temporary, AtFlags::empty());
        Err(match errno {
            Errno::ISDIR => CopyError::InTheWay { path: self.host_path(path.as_bytes()) },
            errno => self.failed("write", path.as_bytes(), errno),
        })
    }

    /// The directory that `path` is in. The archive must have brought it, or it was here.
    fn parent(&mut self, path: &EntryPath) -> Result<BorrowedFd<'_>, CopyError> {
        let wanted = path.parent();
        if wanted.is_empty() {
            return Ok(self.root.as_fd());
        }
        if self.parent.as_ref().is_none_or(|(path, _)| path != wanted) {
            let opened = self.open_dir(wanted);
            let fd = opened.map_err(|errno| self.failed("open the directory", wanted, errno))?;
            self.parent = Some((wanted.to_vec(), fd));
        }
        Ok(self.parent.as_ref().map_or(self.root.as_fd(), |(_, fd)| fd.as_fd()))
    }

    fn open_dir(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let inside = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        rustix::fs::openat2(&self.root, path, DIRECTORY, Mode::empty(), inside)
    }

    fn leave_dirs(&mut self, keep: impl Fn(&[u8]) -> bool) -> Result<(), CopyError> {
        while let Some(dir) = self.dirs.pop_if(|dir| !keep(&dir.path)) {
            let finish = || {
                let fd = self.open_dir(&dir.path)?;
                rustix::fs::futimens(&fd, &times(dir.mtime))?;
                rustix::fs::fchmod(&fd, dir.mode)
            };
            finish().map_err(|errno| self.failed("set mode and time of", &dir.path, errno))?;
            self.parent = None;
        }
        Ok(())
    }

    fn host_path(&self, path: &[u8]) -> PathBuf {
        self.root_path.join(OsStr::from_bytes(path))
    }

    fn failed(&self, action: &'static str, path: &[u8], errno: Errno) -> CopyError {
        CopyError::Io { action, path: self.host_path(path), source: errno.into() }
    }
}

impl Sink for Unpacker {
    fn take(&mut self, item: Item) -> Result<(), CopyError> {
        match item {
            Item::Entry(entry) => self.entry(&entry),
            Item::Data(bytes) => self.data(Piece::Data(&bytes)),
            Item::Hole(len) => self.data(Piece::Hole(len)),
            Item::Note(Note::Cut { len, .. }) => self.cut(len),
            Item::Note(_) | Item::End => Ok(()),
        }
    }

    fn finish(&mut self) -> Result<(), CopyError> {
        self.leave_dirs(|_| false)
    }
}

impl Drop for Unpacker {
    /// What is not all there goes.
    fn drop(&mut self) {
        if let Some(open) = self.file.take()
            && let Some(temporary) = open.temporary
            && let Ok(parent) = self.parent(&open.path)
        {
            // The error that made us stop is on its way already; this would only hide it.
            let _removed = rustix::fs::unlinkat(parent, temporary, AtFlags::empty());
        }
        // New directories are no longer private to the one who was to fill them.
        let _left = self.leave_dirs(|_| false);
    }
}

/// What a thing takes of a disk at most, its name aside, in bytes.
fn on_disk(kind: &EntryKind) -> u64 {
    // A run that begins and ends inside of blocks.
    let run = |run: &Run| run.len.saturating_add(2 * ENTRY_BYTES);
    match kind {
        EntryKind::File { size } => *size,
        EntryKind::Sparse { runs, .. } => runs.iter().map(run).fold(0, u64::saturating_add),
        _ => 0,
    }
}

/// Is `path` somewhere in `dir`?
fn is_below(path: &[u8], dir: &[u8]) -> bool {
    path.strip_prefix(dir).is_some_and(|rest| rest.starts_with(b"/"))
}

fn times(mtime: Timestamp) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: mtime.seconds, tv_nsec: mtime.nanoseconds.into() },
    }
}
