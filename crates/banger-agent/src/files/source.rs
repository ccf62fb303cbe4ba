use std::os::fd::OwnedFd;

use banger_guest_protocol::messages::Pack;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};

use super::error::{FileError, printable};

/// Something that is there to be packed.
#[derive(Debug)]
pub(super) enum Source {
    /// `name` in a directory.
    Named { parent: OwnedFd, name: Vec<u8> },
    /// A directory by itself, and what the archive calls it.
    Directory { dir: OwnedFd, name: Vec<u8> },
}

impl Source {
    pub(super) fn open(what: &Pack) -> Result<Self, FileError> {
        let path = what.path.as_bytes();
        if !path.starts_with(b"/") {
            return Err(FileError::NotAbsolute { path: printable(path) });
        }
        let end = path.iter().rposition(|byte| *byte != b'/').map_or(0, |at| at + 1);
        let start = path[..end].iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
        let name = &path[start..end];
        match name {
            b"" | b"." => return Self::directory(path, b"."),
            b".." => return Err(FileError::Nameless { path: printable(path) }),
            // A slash at the end follows a symlink.
            _ if end < path.len() => return Self::directory(path, name),
            _ => {}
        }
        let failed = |errno| FileError::at("look at", path, errno);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = rustix::fs::open(&path[..start], flags, Mode::empty()).map_err(failed)?;
        let links = if what.follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
        let found = rustix::fs::statat(&parent, name, links).map_err(failed)?;
        match FileType::from_raw_mode(found.st_mode) {
            FileType::RegularFile | FileType::Directory | FileType::Symlink => {
                Ok(Self::Named { parent, name: name.to_vec() })
            }
            _ => Err(FileError::NotPackable { path: printable(path) }),
        }
    }

    fn directory(path: &[u8], name: &[u8]) -> Result<Self, FileError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|errno| FileError::at("open the directory", path, errno))?;
        Ok(Self::Directory { dir, name: name.to_vec() })
    }
}
