use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat, openat2};
use rustix::io::Errno;

use super::error::{FileError, printable};
use crate::system_error::SystemError;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
pub(super) const PARENT_MODE: Mode = Mode::from_raw_mode(0o755);

/// A directory that nothing leads out of.
#[derive(Debug)]
pub(super) struct Beneath {
    dir: OwnedFd,
    path: Vec<u8>,
    resolve: ResolveFlags,
}

impl Beneath {
    /// `path` is absolute and a directory.
    pub(super) fn open(path: &[u8]) -> Result<Self, FileError> {
        let dir = rustix::fs::open(path, DIRECTORY, Mode::empty())
            .map_err(|errno| FileError::at("open the directory", path, errno))?;
        // Nothing leads out of `/`, and images have absolute symlinks there.
        let whole = path.iter().all(|byte| *byte == b'/');
        let inside = if whole { ResolveFlags::IN_ROOT } else { ResolveFlags::BENEATH };
        Ok(Self { dir, path: path.to_owned(), resolve: inside | ResolveFlags::NO_MAGICLINKS })
    }

    /// Opens the directory at `path`, which may lead over symlinks that stay inside.
    pub(super) fn open_dir(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { b"." } else { path };
        loop {
            match openat2(&self.dir, path, DIRECTORY, Mode::empty(), self.resolve) {
                // Something was renamed meanwhile, and the kernel is not sure any more that this is inside.
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return other,
            }
        }
    }

    /// The same, but makes what is missing of it.
    pub(super) fn make_dir(&self, path: &[u8]) -> Result<OwnedFd, FileError> {
        let failed = |errno| SystemError::new("open the directory", self.printable(path), errno);
        match self.open_dir(path) {
            Err(Errno::NOENT) if !path.is_empty() => {}
            Err(Errno::NOTDIR) => return Err(FileError::NotDirectory { path: self.printable(path) }),
            other => return Ok(other.map_err(failed)?),
        }
        let slash = path.iter().rposition(|byte| *byte == b'/');
        let parent = self.make_dir(slash.map_or(b"", |at| &path[..at]))?;
        match mkdirat(&parent, &path[slash.map_or(0, |at| at + 1)..], PARENT_MODE) {
            // A symlink that leads nowhere: then it cannot be opened either.
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => {
                return Err(SystemError::new("make the directory", self.printable(path), errno).into());
            }
        }
        Ok(self.open_dir(path).map_err(failed)?)
    }

    /// A path in it, for people.
    pub(super) fn printable(&self, path: &[u8]) -> String {
        let slash: &[u8] = if self.path.ends_with(b"/") || path.is_empty() { b"" } else { b"/" };
        printable(&[&self.path, slash, path].concat())
    }
}

impl AsFd for Beneath {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}
