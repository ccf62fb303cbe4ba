//! Files of a working tree, opened without following any symlink: a directory that was replaced by a link
//! must not let anything through that lies elsewhere.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat2, readlinkat, statat};
use rustix::io::Errno;

/// Why a working tree, or a file of it, could not be read.
#[derive(Debug, thiserror::Error)]
#[error("could not read {}", path.display())]
pub struct WorktreeError {
    path: PathBuf,
    source: io::Error,
}

/// A directory whose files are read by relative path.
#[derive(Debug)]
pub struct Worktree {
    root: PathBuf,
    dir: OwnedFd,
}

/// What is at a path.
#[derive(Debug)]
pub enum Entry {
    File(RegularFile),
    Symlink {
        target: OsString,
        mtime_s: i64,
    },
    /// A directory, a socket, a device: nothing that git tracks.
    Other,
    /// Nothing, or something behind a symlink.
    Absent,
}

/// A regular file that is open.
#[derive(Debug)]
pub struct RegularFile {
    pub file: File,
    pub len: u64,
    /// The owner may execute it.
    pub executable: bool,
    pub mtime_s: i64,
    stamp: Stamp,
}

/// What changes when a file is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    len: i64,
    mtime: (i64, u64),
    ctime: (i64, u64),
}

impl Stamp {
    fn of(stat: &Stat) -> Self {
        Self {
            len: stat.st_size,
            mtime: (stat.st_mtime, stat.st_mtime_nsec),
            ctime: (stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}

impl RegularFile {
    fn new(fd: OwnedFd) -> Result<Option<Self>, Errno> {
        let stat = fstat(&fd)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(None);
        }
        Ok(Some(Self {
            file: fd.into(),
            len: stat.st_size as u64,
            executable: stat.st_mode & 0o100 != 0,
            mtime_s: stat.st_mtime,
            stamp: Stamp::of(&stat),
        }))
    }

    /// Has nobody written to it since it was opened?
    pub fn is_unchanged(&self) -> bool {
        fstat(&self.file).is_ok_and(|stat| Stamp::of(&stat) == self.stamp)
    }
}

impl Worktree {
    /// # Errors
    ///
    /// When `root` is no directory that can be read.
    pub fn open(root: &Path) -> Result<Self, WorktreeError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::open(root, flags, Mode::empty()) {
            Ok(dir) => Ok(Self { root: root.into(), dir }),
            Err(error) => Err(WorktreeError { path: root.into(), source: error.into() }),
        }
    }

    /// Opens what is at `path`.
    ///
    /// # Errors
    ///
    /// When something is there and cannot be read.
    pub fn entry(&self, path: &Path) -> Result<Entry, WorktreeError> {
        let failed = |error: Errno| WorktreeError { path: self.root.join(path), source: error.into() };
        // NONBLOCK: opening a FIFO must not wait for its writer.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        match self.open_at(path, flags) {
            Ok(fd) => Ok(RegularFile::new(fd).map_err(failed)?.map_or(Entry::Other, Entry::File)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(Entry::Absent),
            // The last component is a symlink, or one before it.
            Err(Errno::LOOP) => self.symlink(path),
            // A socket.
            Err(Errno::NXIO) => Ok(Entry::Other),
            Err(error) => Err(failed(error)),
        }
    }

    /// Opens a directory of it, to change what is in there.
    ///
    /// # Errors
    ///
    /// When there is none, or only behind a symlink.
    pub(crate) fn directory(&self, path: &Path) -> Result<OwnedFd, Errno> {
        self.open_at(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC)
    }

    fn symlink(&self, path: &Path) -> Result<Entry, WorktreeError> {
        let failed = |error: Errno| WorktreeError { path: self.root.join(path), source: error.into() };
        let Ok(fd) = self.open_at(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC) else {
            return Ok(Entry::Absent);
        };
        let stat = statat(&fd, "", AtFlags::EMPTY_PATH).map_err(failed)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            return Ok(Entry::Other);
        }
        let target = readlinkat(&fd, "", Vec::new()).map_err(failed)?;
        Ok(Entry::Symlink { target: OsString::from_vec(target.into_bytes()), mtime_s: stat.st_mtime })
    }

    fn open_at(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        // No magic links and no mount points are excluded on purpose: a repository may lie across file
        // systems.
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        loop {
            match openat2(&self.dir, path, flags, Mode::empty(), resolve) {
                // A rename elsewhere disturbed the walk.
                Err(Errno::AGAIN | Errno::INTR) => {}
                result => return result,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn nothing_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("tree");
        fs::create_dir_all(root.join("sub")).unwrap();
        fs::create_dir(dir.path().join("elsewhere")).unwrap();
        fs::write(dir.path().join("elsewhere/secret"), "secret").unwrap();
        fs::write(root.join("sub/plain"), "plain").unwrap();
        fs::write(root.join("script"), "").unwrap();
        fs::set_permissions(root.join("script"), fs::Permissions::from_mode(0o755)).unwrap();
        symlink("/etc/passwd", root.join("link")).unwrap();
        symlink("../elsewhere", root.join("dir")).unwrap();
        symlink("sub", root.join("inner")).unwrap();
        let fifo = root.join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        let socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();

        let tree = Worktree::open(&root).unwrap();
        let entry = |path: &str| tree.entry(Path::new(path)).unwrap();
        assert!(matches!(entry("sub/plain"), Entry::File(file) if file.len == 5 && !file.executable));
        assert!(matches!(entry("script"), Entry::File(file) if file.executable));
        assert!(matches!(entry("link"), Entry::Symlink { target, .. } if target == "/etc/passwd"));
        assert!(matches!(entry("dir"), Entry::Symlink { .. }));
        for absent in ["dir/secret", "inner/plain", "sub/plain/x", "none", "link/x"] {
            assert!(matches!(entry(absent), Entry::Absent), "{absent}");
        }
        for other in ["sub", "fifo", "socket"] {
            assert!(matches!(entry(other), Entry::Other), "{other}");
        }
        assert!(tree.entry(Path::new("../elsewhere/secret")).is_err());
        assert!(tree.entry(Path::new("/etc/passwd")).is_err());
        drop(socket);
    }

    #[test]
    fn a_write_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "before").unwrap();
        let tree = Worktree::open(dir.path()).unwrap();
        let Entry::File(file) = tree.entry(Path::new("file")).unwrap() else { panic!("no file") };
        assert!(file.is_unchanged());
        fs::write(dir.path().join("file"), "after it").unwrap();
        assert!(!file.is_unchanged());
    }
}
