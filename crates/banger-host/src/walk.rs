//! A file, or a directory with all that is in it, opened for reading. The path it begins with may be a
//! symlink; below that none is followed, whatever is swapped for what meanwhile: each step goes from an open
//! directory.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, stat, statat};
use rustix::io::Errno;

/// NONBLOCK: something that has become a FIFO since it was looked at must not make us wait for its writer.
const READ: OFlags = OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// Why a file or tree could not be read.
#[derive(Debug, thiserror::Error)]
#[error("could not {action} {}", path.display())]
pub struct WalkError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// Something on the way.
#[derive(Debug)]
pub struct Found {
    pub path: PathBuf,
    /// Its path from where the walk began; empty there.
    pub below: PathBuf,
    pub kind: FoundKind,
    /// Permission bits, with setuid, setgid and sticky.
    pub mode: u32,
    /// In seconds since the Unix epoch.
    pub mtime_s: i64,
}

#[derive(Debug)]
pub enum FoundKind {
    File {
        file: File,
        len: u64,
    },
    /// What is in it comes next.
    Directory,
    Symlink {
        target: OsString,
    },
    /// A socket, a FIFO, a device. Not opened.
    Special,
}

/// Everything from a path downwards, each directory before what is in it, as the file system has it in order.
#[derive(Debug)]
pub struct Walk {
    first: Option<Found>,
    /// The open directories from the outermost one to where the walk is.
    levels: Vec<Level>,
}

#[derive(Debug)]
struct Level {
    dir: Dir,
    path: PathBuf,
    below: PathBuf,
}

impl Walk {
    /// Opens what is at `path`; none when nothing is there.
    ///
    /// # Errors
    ///
    /// When something is there and cannot be read.
    pub fn begin(path: &Path) -> Result<Option<Self>, WalkError> {
        let failed =
            |action| move |errno: Errno| WalkError { action, path: path.into(), source: errno.into() };
        let status = match stat(path) {
            Ok(status) => status,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(errno) => return Err(failed("look at")(errno)),
        };
        let mut walk = Self { first: None, levels: Vec::new() };
        walk.first = Some(if is_special(&status) {
            found(path.into(), PathBuf::new(), FoundKind::Special, &status)
        } else {
            let opened = openat(CWD, path, READ, Mode::empty());
            walk.enter(path.into(), PathBuf::new(), opened.map_err(failed("read"))?)?
        });
        Ok(Some(walk))
    }

    /// Takes what was opened; a directory is walked through next.
    fn enter(&mut self, path: PathBuf, below: PathBuf, fd: OwnedFd) -> Result<Found, WalkError> {
        let failed = |errno: Errno| WalkError { action: "read", path: path.clone(), source: errno.into() };
        let status = fstat(&fd).map_err(failed)?;
        let kind = match FileType::from_raw_mode(status.st_mode) {
            FileType::RegularFile => FoundKind::File { file: fd.into(), len: status.st_size as u64 },
            FileType::Directory => {
                let dir = Dir::new(fd).map_err(failed)?;
                self.levels.push(Level { dir, path: path.clone(), below: below.clone() });
                FoundKind::Directory
            }
            _ => FoundKind::Special,
        };
        Ok(found(path, below, kind, &status))
    }

    /// What is called `name` in the innermost open directory; none when it has gone since it was listed.
    fn look_at(&mut self, name: &OsStr) -> Result<Option<Found>, WalkError> {
        let Some(level) = self.levels.last() else { return Ok(None) };
        let (path, below) = (level.path.join(name), level.below.join(name));
        let look = |level: &Level| -> Result<_, Errno> {
            let dir = level.dir.fd().map_err(|_| Errno::BADF)?;
            let status = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(status.st_mode) == FileType::Symlink {
                let target = OsString::from_vec(readlinkat(dir, name, Vec::new())?.into_bytes());
                return Ok((status, Some(FoundKind::Symlink { target }), None));
            }
            if is_special(&status) {
                return Ok((status, Some(FoundKind::Special), None));
            }
            let fd = openat(dir, name, READ | OFlags::NOFOLLOW, Mode::empty())?;
            Ok((status, None, Some(fd)))
        };
        match look(level) {
            Ok((status, Some(kind), _)) => Ok(Some(found(path, below, kind, &status))),
            Ok((_, None, Some(fd))) => self.enter(path, below, fd).map(Some),
            Ok((_, None, None)) | Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(WalkError { action: "read", path, source: errno.into() }),
        }
    }
}

impl Iterator for Walk {
    type Item = Result<Found, WalkError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(first) = self.first.take() {
            return Some(Ok(first));
        }
        loop {
            let level = self.levels.last_mut()?;
            let name = match level.dir.read() {
                None => {
                    self.levels.pop();
                    continue;
                }
                Some(Err(errno)) => {
                    let path = level.path.clone();
                    return Some(Err(WalkError { action: "list", path, source: errno.into() }));
                }
                Some(Ok(entry)) => OsStr::from_bytes(entry.file_name().to_bytes()).to_owned(),
            };
            if name == "." || name == ".." {
                continue;
            }
            if let Some(found) = self.look_at(&name).transpose() {
                return Some(found);
            }
        }
    }
}

fn is_special(status: &Stat) -> bool {
    !matches!(FileType::from_raw_mode(status.st_mode), FileType::RegularFile | FileType::Directory)
}

fn found(path: PathBuf, below: PathBuf, kind: FoundKind, status: &Stat) -> Found {
    Found { path, below, kind, mode: status.st_mode & 0o7777, mtime_s: status.st_mtime }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn listed(path: &Path) -> Vec<(String, String)> {
        let mut listed: Vec<_> = Walk::begin(path)
            .unwrap()
            .unwrap()
            .map(|found| {
                let found = found.unwrap();
                let kind = match found.kind {
                    FoundKind::File { file, len } => {
                        assert_eq!(io::read_to_string(file).unwrap().len() as u64, len);
                        format!("file {len} {:o}", found.mode)
                    }
                    FoundKind::Directory => "directory".into(),
                    FoundKind::Symlink { target } => format!("to {}", target.display()),
                    FoundKind::Special => "special".into(),
                };
                (found.below.display().to_string(), kind)
            })
            .collect();
        listed.sort();
        listed
    }

    #[test]
    fn nothing_below_the_first_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("tree");
        fs::create_dir_all(root.join("sub/deep")).unwrap();
        fs::write(root.join("sub/deep/plain"), "plain").unwrap();
        fs::write(root.join("script"), "").unwrap();
        fs::set_permissions(root.join("sub/deep/plain"), fs::Permissions::from_mode(0o640)).unwrap();
        fs::set_permissions(root.join("script"), fs::Permissions::from_mode(0o4755)).unwrap();
        symlink("/etc", root.join("etc")).unwrap();
        symlink("nowhere", root.join("dangling")).unwrap();
        symlink("tree", dir.path().join("link")).unwrap();
        let fifo = root.join("fifo");
        rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(root.join("socket")).unwrap();

        let expected: Vec<(String, String)> = [
            ("", "directory"),
            ("dangling", "to nowhere"),
            ("etc", "to /etc"),
            ("fifo", "special"),
            ("script", "file 0 4755"),
            ("socket", "special"),
            ("sub", "directory"),
            ("sub/deep", "directory"),
            ("sub/deep/plain", "file 5 640"),
        ]
        .map(|(path, kind)| (path.into(), kind.into()))
        .into();
        assert_eq!(listed(&root), expected);
        assert_eq!(listed(&dir.path().join("link")), expected);
        assert_eq!(listed(&fifo), [(String::new(), "special".into())]);
        assert_eq!(listed(&root.join("sub/deep/plain")), [(String::new(), "file 5 640".into())]);
    }

    #[test]
    fn nothing_is_no_error_and_a_loop_is() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        symlink("nowhere", dir.path().join("dangling")).unwrap();
        symlink("loop", dir.path().join("loop")).unwrap();
        for nothing in ["none", "none/x", "file/x", "dangling"] {
            assert!(Walk::begin(&dir.path().join(nothing)).unwrap().is_none(), "{nothing}");
        }
        let error = Walk::begin(&dir.path().join("loop")).unwrap_err();
        assert!(error.to_string().ends_with("/loop"), "{error}");
    }

    #[test]
    fn what_goes_while_it_is_listed_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["a", "b", "c"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        let mut walk = Walk::begin(dir.path()).unwrap().unwrap();
        walk.next().unwrap().unwrap();
        let first = walk.next().unwrap().unwrap().below;
        for name in ["a", "b", "c"] {
            let _ = fs::remove_file(dir.path().join(name));
        }
        assert!(walk.next().is_none(), "more than {}", first.display());
    }
}
