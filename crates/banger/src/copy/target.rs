use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use banger_api::files::archive::{Entry, EntryKind, EntryPath};

use super::error::given;
use super::{CopyError, GuestPath};

/// What the guest was asked for, and what it is called here. Everything in its archive must fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Names {
    /// The first part of every name in the archive; none for contents.
    asked: Option<Vec<u8>>,
    /// What stands in its place here; none leaves it (and contents without a directory of their own).
    called: Option<Vec<u8>>,
    /// What the first entry may be.
    only: Only,
    started: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Only {
    Anything,
    Directories,
    OtherThanDirectories,
}

/// Where a copy goes.
#[derive(Debug)]
pub(crate) struct Target {
    /// The directory that nothing may leave. It exists.
    pub(crate) root: PathBuf,
    pub(crate) names: Names,
}

impl Target {
    /// Looks at `to`: it is there or not, a directory or not, as `docker cp` does it.
    pub(crate) fn find(from: &GuestPath, to: &Path) -> Result<Self, CopyError> {
        let bytes = to.as_os_str().as_bytes();
        let wants_dir = bytes.ends_with(b"/") || bytes.ends_with(b"/.");
        let names = Names::of(from);
        let only = match std::fs::metadata(to) {
            Ok(found) if found.is_dir() => return Ok(Self { root: to.into(), names }),
            Ok(found) if !found.is_file() => return Err(CopyError::InTheWay { path: to.into() }),
            Ok(_) => Only::OtherThanDirectories,
            Err(error) if error.kind() == ErrorKind::NotADirectory => {
                return Err(CopyError::NotDirectory { path: to.into() });
            }
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(CopyError::io("look at", to)(error));
            }
            Err(_) if wants_dir => Only::Directories,
            Err(_) => Only::Anything,
        };
        if only == Only::OtherThanDirectories && names.asked.is_none() {
            return Err(CopyError::InTheWay { path: to.into() });
        }
        let Some(name) = to.file_name() else { return Err(CopyError::NotFound { path: to.into() }) };
        let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty());
        let root = parent.unwrap_or(Path::new(".")).to_owned();
        match std::fs::metadata(&root) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Err(CopyError::NotDirectory { path: root }),
            Err(error) => return Err(CopyError::io("look at", root)(error)),
        }
        Ok(Self { root, names: Names { called: Some(name.as_bytes().to_vec()), only, ..names } })
    }
}

impl Names {
    /// Under the names that the guest's own files have.
    pub(crate) fn of(from: &GuestPath) -> Self {
        let asked = if from.is_contents() { None } else { from.name().map(<[u8]>::to_vec) };
        Self { asked, called: None, only: Only::Anything, started: false }
    }

    /// Where an entry goes, below the root.
    pub(super) fn place(&mut self, entry: &Entry) -> Result<EntryPath, CopyError> {
        let refused = |source| CopyError::Name { name: given(&entry.path), source };
        let stranger = || CopyError::Stranger { name: given(&entry.path) };
        let path = EntryPath::parse(&entry.path).map_err(refused)?;
        let (below, called) = match &self.asked {
            Some(asked) if path.top() != asked => return Err(stranger()),
            Some(asked) => (path.below_top(), self.called.as_ref().or(Some(asked))),
            None => (path, self.called.as_ref()),
        };
        let is_dir = entry.kind == EntryKind::Directory;
        if !std::mem::replace(&mut self.started, true) {
            // It all hangs from the first one.
            if !below.is_root() || (self.asked.is_none() && !is_dir) {
                return Err(stranger());
            }
            let fits = match self.only {
                Only::Anything => true,
                Only::Directories => is_dir,
                Only::OtherThanDirectories => !is_dir,
            };
            if !fits {
                let path = OsStr::from_bytes(called.map(Vec::as_slice).unwrap_or_default()).into();
                return Err(match self.only {
                    Only::Directories => CopyError::NoDirectory { path },
                    _ => CopyError::InTheWay { path },
                });
            }
        }
        let Some(called) = called else { return Ok(below) };
        EntryPath::parse(&[called, &b"/"[..], below.as_bytes()].concat()).map_err(refused)
    }
}

#[cfg(test)]
mod tests {
    use banger_api::files::archive::Timestamp;

    use super::*;

    fn guest(path: &str) -> GuestPath {
        GuestPath { vm: "x".into(), path: path.into() }
    }

    fn entry(path: &str, kind: EntryKind) -> Entry {
        Entry { path: path.into(), kind, mode: 0o644, mtime: Timestamp::default() }
    }

    /// Where a file or directory of that name ends up below `base`, when `from` is copied to `base`/`to`.
    fn arrives(base: &Path, from: &str, to: &str, kind: EntryKind) -> String {
        let from = guest(from);
        let mut target = match Target::find(&from, &PathBuf::from(format!("{}/{to}", base.display()))) {
            Ok(target) => target,
            Err(CopyError::NotFound { .. }) => return "not found".into(),
            Err(CopyError::NotDirectory { .. }) => return "no directory".into(),
            Err(CopyError::InTheWay { .. }) => return "in the way".into(),
            Err(error) => return error.to_string(),
        };
        let first = target.names.asked.clone().unwrap_or(b".".to_vec());
        let first = entry(std::str::from_utf8(&first).unwrap(), kind);
        match target.names.place(&first) {
            Ok(path) => {
                let path = target.root.join(OsStr::from_bytes(path.as_bytes()));
                let path = path.strip_prefix(base).unwrap().display().to_string();
                path.trim_end_matches('/').to_owned()
            }
            Err(CopyError::InTheWay { .. }) => "in the way".into(),
            Err(CopyError::NoDirectory { .. }) => "not found".into(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn it_is_as_with_docker_cp() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("dir")).unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        let file = EntryKind::File { size: 0 };
        for (from, to, kind, expected) in [
            ("/a/src", "dir", &file, "dir/src"),
            ("/a/src", "file", &file, "file"),
            ("/a/src", "new", &file, "new"),
            ("/a/src", "new/", &file, "not found"),
            ("/a/src", "file/", &file, "no directory"),
            ("/a/src", "none/new", &file, "not found"),
            ("/a/src", "dir/../new", &file, "dir/../new"),
            ("/a/src", "dir", &EntryKind::Directory, "dir/src"),
            ("/a/src/", "dir/.", &EntryKind::Directory, "dir/./src"),
            ("/a/src", "new", &EntryKind::Directory, "new"),
            ("/a/src", "new/", &EntryKind::Directory, "new"),
            ("/a/src", "file", &EntryKind::Directory, "in the way"),
            ("/a/src/.", "dir", &EntryKind::Directory, "dir"),
            ("/a/src/.", "new", &EntryKind::Directory, "new"),
            ("/a/src/.", "file", &EntryKind::Directory, "in the way"),
            ("/", "dir", &EntryKind::Directory, "dir"),
        ] {
            let arrived = arrives(dir.path(), from, to, kind.clone()).replace("dir/./", "dir/");
            assert_eq!(arrived, expected.replace("dir/./", "dir/"), "{from} -> {to} {kind:?}");
        }
    }

    #[test]
    fn what_was_not_asked_for_is_refused() {
        let dir = || EntryKind::Directory;
        let file = || EntryKind::File { size: 0 };
        for (from, entries) in [
            ("/a/src", vec![("other", dir())]),
            ("/a/src", vec![(".", dir())]),
            ("/a/src", vec![("src/x", file())]),
            ("/a/src", vec![("src", dir()), ("srcx/y", file())]),
            ("/a/src", vec![("src", dir()), ("src/../x", file())]),
            ("/a/src", vec![("src", dir()), ("/src/x", file())]),
            ("/a/.", vec![("x", file())]),
            ("/a/.", vec![(".", file())]),
            ("/a/.", vec![(".", dir()), ("../x", file())]),
        ] {
            let mut names = Names::of(&guest(from));
            let last = entries.len() - 1;
            for (at, (path, kind)) in entries.into_iter().enumerate() {
                let placed = names.place(&entry(path, kind));
                assert_eq!(placed.is_err(), at == last, "{from}: {path}: {placed:?}");
            }
        }
    }
}
