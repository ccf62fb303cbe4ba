use std::ffi::OsStr;
use std::fs::{self, Metadata, ReadDir};
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
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
}

impl Source {
    pub(crate) fn find(path: &Path) -> Result<Self, CopyError> {
        let bytes = path.as_os_str().as_bytes();
        let is_contents = bytes == b"." || bytes.ends_with(b"/.") || bytes.iter().all(|byte| *byte == b'/');
        let failed = || CopyError::io("look at", path);
        // A slash at the end follows a symlink, as everywhere.
        let found = fs::symlink_metadata(path).map_err(|error| match error.kind() {
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
        Ok(Self { path: path.into(), is_contents, is_dir: found.is_dir(), name })
    }

    /// Everything in it, each directory before what is in it. In the archive its first part is called `name`, or `.` when that
    /// is empty.
    pub(super) fn walk(&self, name: &[u8]) -> Walk {
        let name = if name.is_empty() { b"." } else { name };
        Walk { first: Some((self.path.clone(), name.to_vec())), levels: Vec::new() }
    }
}

/// One thing on the way through a tree.
pub(super) struct Found {
    pub(super) path: PathBuf,
    /// Its path in the archive.
    pub(super) name: Vec<u8>,
    pub(super) metadata: Metadata,
}

pub(super) struct Walk {
    first: Option<(PathBuf, Vec<u8>)>,
    levels: Vec<(ReadDir, Vec<u8>)>,
}

impl Walk {
    fn look_at(&mut self, path: PathBuf, name: Vec<u8>) -> Result<Found, CopyError> {
        let failed = |action| CopyError::io(action, &path);
        let metadata = fs::symlink_metadata(&path).map_err(failed("look at"))?;
        if metadata.is_dir() {
            let entries = fs::read_dir(&path).map_err(failed("list"))?;
            self.levels.push((entries, name.clone()));
        }
        Ok(Found { path, name, metadata })
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
            let (entries, above) = self.levels.last_mut()?;
            let Some(entry) = entries.next() else {
                self.levels.pop();
                continue;
            };
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => return Some(Err(CopyError::io("list", OsStr::from_bytes(above))(error))),
            };
            let name = [above, &b"/"[..], entry.file_name().as_bytes()].concat();
            match self.look_at(entry.path(), name) {
                // Gone since its directory was listed.
                Err(CopyError::NotFound { .. }) => {}
                found => return Some(found),
            }
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
        let find = |path: &str| Source::find(&PathBuf::from(format!("{}/{path}", base.display())));
        let told = |path: &str| {
            find(path).map(|found| (String::from_utf8(found.name).unwrap(), found.is_dir, found.is_contents))
        };
        assert_eq!(told("d").unwrap(), ("d".into(), true, false));
        assert_eq!(told("d/").unwrap(), ("d".into(), true, false));
        assert_eq!(told("d/.").unwrap(), (String::new(), true, true));
        assert_eq!(told("d/e/..").unwrap(), ("d".into(), true, false));
        assert_eq!(told("f").unwrap(), ("f".into(), false, false));
        assert_eq!(told("link").unwrap(), ("link".into(), false, false));
        assert_eq!(told("link/").unwrap(), ("link".into(), true, false));
        assert!(matches!(told("none"), Err(CopyError::NotFound { .. })));
        assert!(matches!(told("f/"), Err(CopyError::NotDirectory { .. })));
        assert!(matches!(Source::find(Path::new("/dev/null")), Err(CopyError::NotCopyable { .. })));
        assert!(Source::find(Path::new("/")).unwrap().is_contents);
        assert!(Source::find(Path::new(".")).unwrap().is_contents);
    }
}
