use std::fs::{self, Metadata, ReadDir};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::CopyError;

/// Something local that is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    /// It ends in `/.`: what is in the directory, not the directory.
    pub(crate) is_contents: bool,
    pub(crate) is_dir: bool,
    /// What it is called where it arrives; nothing for contents.
    pub(crate) name: Vec<u8>,
    /// Symlinks stand for what they lead to.
    pub(crate) follow: bool,
}

impl Source {
    pub(crate) fn find(path: &Path, follow: bool) -> Result<Self, CopyError> {
        let bytes = path.as_os_str().as_bytes();
        let is_contents = bytes == b"." || bytes.ends_with(b"/.") || bytes.iter().all(|byte| *byte == b'/');
        let failed = || CopyError::io("look at", path);
        // A slash at the end follows a symlink, as everywhere.
        let looked = if follow { fs::metadata(path) } else { fs::symlink_metadata(path) };
        let found = looked.map_err(|error| match error.kind() {
            ErrorKind::NotADirectory => CopyError::NotDirectory { path: path.into() },
            _ => failed()(error),
        })?;
        if !(found.is_dir() || found.is_file() || found.is_symlink()) {
            return Err(CopyError::NotCopyable { path: path.into() });
        }
        let name = match path.file_name() {
            _ if is_contents => Vec::new(),
            Some(name) => name.as_bytes().to_vec(),
            // `..` has a name as well, only elsewhere.
            None => {
                let whole = path.canonicalize().map_err(failed())?;
                whole.file_name().unwrap_or_default().as_bytes().to_vec()
            }
        };
        let is_contents = is_contents || name.is_empty();
        Ok(Self { path: path.into(), is_contents, is_dir: found.is_dir(), name, follow })
    }

    /// Everything in it, each directory before what is in it. In the archive its first part is called `name`,
    /// or `.` when that is empty.
    pub(super) fn walk(&self, name: &[u8]) -> Walk {
        let name = if name.is_empty() { b"." } else { name };
        Walk { first: Some((self.path.clone(), name.to_vec())), levels: Vec::new(), follow: self.follow }
    }
}

/// One thing on the way through a tree.
pub(super) struct Found {
    pub(super) path: PathBuf,
    /// Its path in the archive.
    pub(super) name: Vec<u8>,
    pub(super) metadata: Metadata,
    /// Another file system is mounted there, so what is in it is not walked through.
    pub(super) is_mount: bool,
}

pub(super) struct Walk {
    first: Option<(PathBuf, Vec<u8>)>,
    /// The directories that it is in, innermost last.
    levels: Vec<Level>,
    follow: bool,
}

struct Level {
    entries: ReadDir,
    path: PathBuf,
    name: Vec<u8>,
    device: u64,
    inode: u64,
}

impl Walk {
    fn look_at(&mut self, path: PathBuf, name: Vec<u8>) -> Result<Found, CopyError> {
        let failed = |action| CopyError::io(action, &path);
        let mut metadata = fs::symlink_metadata(&path).map_err(failed("look at"))?;
        let followed = self.follow && metadata.is_symlink();
        if followed {
            metadata = match fs::metadata(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    return Err(CopyError::Dangling { path });
                }
                looked => looked.map_err(failed("follow"))?,
            };
        }
        let mut is_mount = false;
        if metadata.is_dir() {
            let (device, inode) = (metadata.dev(), metadata.ino());
            if self.levels.iter().any(|level| (level.device, level.inode) == (device, inode)) {
                return Err(CopyError::Loop { path });
            }
            // Whoever has links followed has asked for where they lead.
            is_mount = !followed && self.levels.last().is_some_and(|above| above.device != device);
            if !is_mount {
                let entries = fs::read_dir(&path).map_err(failed("list"))?;
                self.levels.push(Level { entries, path: path.clone(), name: name.clone(), device, inode });
            }
        }
        Ok(Found { path, name, metadata, is_mount })
    }
}

impl Iterator for Walk {
    type Item = Result<Found, CopyError>;

    /// Goes on after an error.
    fn next(&mut self) -> Option<Self::Item> {
        if let Some((path, name)) = self.first.take() {
            return Some(self.look_at(path, name));
        }
        loop {
            let level = self.levels.last_mut()?;
            let Some(entry) = level.entries.next() else {
                self.levels.pop();
                continue;
            };
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    let path = level.path.clone();
                    // It would not get any further.
                    self.levels.pop();
                    return Some(Err(CopyError::io("list", path)(error)));
                }
            };
            let name = [&level.name, &b"/"[..], entry.file_name().as_bytes()].concat();
            return Some(self.look_at(entry.path(), name).map_err(|error| match error {
                CopyError::NotFound { path } => CopyError::Vanished { path },
                error => error,
            }));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_source_has_a_name() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        fs::create_dir_all(base.join("d/e")).unwrap();
        fs::write(base.join("f"), "").unwrap();
        symlink("d", base.join("link")).unwrap();
        let find = |path: &str| Source::find(&PathBuf::from(format!("{}/{path}", base.display())), false);
        let parsed = |path: &str| {
            find(path).map(|found| (String::from_utf8(found.name).unwrap(), found.is_dir, found.is_contents))
        };
        assert_eq!(parsed("d").unwrap(), ("d".into(), true, false));
        assert_eq!(parsed("d/").unwrap(), ("d".into(), true, false));
        assert_eq!(parsed("d/.").unwrap(), (String::new(), true, true));
        assert_eq!(parsed("d/e/..").unwrap(), ("d".into(), true, false));
        assert_eq!(parsed("f").unwrap(), ("f".into(), false, false));
        assert_eq!(parsed("link").unwrap(), ("link".into(), false, false));
        assert_eq!(parsed("link/").unwrap(), ("link".into(), true, false));
        assert!(matches!(parsed("none"), Err(CopyError::NotFound { .. })));
        assert!(matches!(parsed("f/"), Err(CopyError::NotDirectory { .. })));
        assert!(matches!(Source::find(Path::new("/dev/null"), false), Err(CopyError::NotCopyable { .. })));
        assert!(Source::find(Path::new("/"), false).unwrap().is_contents);
        assert!(Source::find(Path::new("."), false).unwrap().is_contents);
    }
}
