//! The user's own `~/.ssh/config`: one line goes in, and comes out again.

use std::fs::{DirBuilder, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use banger_host::files::{FileError, write_atomic};
use serde::{Deserialize, Serialize};

use super::{SshError, config_include};
use crate::record::{self, RecordError};

/// Beside banger's keys: what an installation has made.
const MADE: &str = "installed.json";

/// Larger than what any person or tool writes.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// The user's file, and the line in it.
#[derive(Debug)]
pub struct UserConfig {
    /// `~/.ssh/config`, which may be a link.
    path: PathBuf,
    line: Vec<u8>,
    made: PathBuf,
}

/// What was not there before an installation, and goes with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Made {
    file: bool,
    dir: bool,
}

/// The file as it is.
struct Present {
    /// Where it really lies, links resolved.
    path: PathBuf,
    meta: Metadata,
    text: Vec<u8>,
}

impl UserConfig {
    /// # Errors
    ///
    /// When the line cannot express where `config` lies.
    pub fn new(home: &Path, config: &Path) -> Result<Self, SshError> {
        let line = config_include::line(config)?;
        Ok(Self { path: home.join(".ssh/config"), line, made: config.with_file_name(MADE) })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn line(&self) -> String {
        String::from_utf8_lossy(&self.line).into_owned()
    }

    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn is_installed(&self) -> Result<bool, SshError> {
        Ok(self.look()?.is_some_and(|present| config_include::is_installed(&present.text, &self.line)))
    }

    /// Puts the line in; false when it was there. A link stays, and what it leads to is changed. Mode and
    /// group stay as well, also of a file that is read-only: it is its owner who asks.
    ///
    /// # Errors
    ///
    /// When the file is somebody else's, or no file, or cannot be written. It is as it was, then.
    pub fn install(&self) -> Result<bool, SshError> {
        let Some(present) = self.look()? else {
            let dir = self.path.parent().unwrap_or(Path::new("/"));
            let made = Made { file: true, dir: !dir.exists() };
            record::write(&self.made, &made)?;
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(dir)
                .map_err(cannot("create the directory", dir))?;
            let text = config_include::install(b"", &self.line).unwrap_or_default();
            write_atomic(&self.path, &text, 0o600)?;
            return Ok(true);
        };
        let Some(text) = config_include::install(&present.text, &self.line) else { return Ok(false) };
        // Whatever an earlier installation made is gone, or this would not be the user's.
        self.forget()?;
        present.replace(&text).map(|()| true)
    }

    /// Takes the line out again, and what [`Self::install`] made if nobody has used it since; false when it
    /// was not there.
    ///
    /// # Errors
    ///
    /// As [`Self::install`].
    pub fn uninstall(&self) -> Result<bool, SshError> {
        let made = match record::read::<Made>(&self.made) {
            Err(RecordError::Missing(_)) => Made::default(),
            read => read?,
        };
        let Some(present) = self.look()? else { return self.forget().map(|()| false) };
        let Some(text) = config_include::uninstall(&present.text, &self.line) else {
            return self.forget().map(|()| false);
        };
        if made.file && text.is_empty() {
            std::fs::remove_file(&self.path).map_err(cannot("remove", &self.path))?;
            if let Some(dir) = self.path.parent().filter(|_| made.dir) {
                match std::fs::remove_dir(dir) {
                    // Something else has come to lie in it.
                    Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
                    removed => removed.map_err(cannot("remove", dir))?,
                }
            }
        } else {
            present.replace(&text)?;
        }
        self.forget().map(|()| true)
    }

    fn forget(&self) -> Result<(), SshError> {
        match std::fs::remove_file(&self.made) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(cannot("remove", &self.made)(error).into())
            }
            _ => Ok(()),
        }
    }

    /// None: there is none yet.
    fn look(&self) -> Result<Option<Present>, SshError> {
        let link = match self.path.symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            found => found.map_err(cannot("look at", &self.path))?.is_symlink(),
        };
        let path = match self.path.canonicalize() {
            Err(error) if link && error.kind() == io::ErrorKind::NotFound => {
                let target = std::fs::read_link(&self.path).map_err(cannot("read the link", &self.path))?;
                let target = self.path.parent().unwrap_or(Path::new("/")).join(target);
                return Err(SshError::Dangling { link: self.path.clone(), target });
            }
            path => path.map_err(cannot("find", &self.path))?,
        };
        let meta = path.metadata().map_err(cannot("look at", &path))?;
        let uid = banger_host::system::uid();
        if !meta.is_file() {
            return Err(SshError::NotFile(path));
        }
        if meta.uid() != uid {
            return Err(SshError::ForeignOwner { path, owner: meta.uid(), uid });
        }
        if meta.len() > MAX_BYTES {
            return Err(SshError::TooLarge { path, bytes: meta.len() });
        }
        let text = std::fs::read(&path).map_err(cannot("read", &path))?;
        Ok(Some(Present { path, meta, text }))
    }
}

impl Present {
    fn replace(&self, text: &[u8]) -> Result<(), SshError> {
        write_atomic(&self.path, text, self.meta.mode() & 0o7777)?;
        let group = rustix::fs::Gid::from_raw(self.meta.gid());
        // A group that one is no member of cannot be given. The file is its owner's all the same.
        let _kept = rustix::fs::chown(&self.path, None, Some(group));
        Ok(())
    }
}

fn cannot<'a>(action: &'static str, path: &'a Path) -> impl Fn(io::Error) -> FileError + 'a {
    move |source| FileError::Io { action, path: path.into(), source }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    struct Bench {
        root: tempfile::TempDir,
    }

    impl Bench {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            fs::create_dir_all(root.path().join("state/ssh")).unwrap();
            Self { root }
        }

        fn user_config(&self) -> UserConfig {
            UserConfig::new(self.root.path(), &self.root.path().join("state/ssh/config")).unwrap()
        }

        fn file(&self) -> PathBuf {
            self.root.path().join(".ssh/config")
        }

        fn with(text: &[u8], mode: u32) -> Self {
            let bench = Self::new();
            fs::create_dir(bench.root.path().join(".ssh")).unwrap();
            fs::write(bench.file(), text).unwrap();
            fs::set_permissions(bench.file(), Permissions::from_mode(mode)).unwrap();
            bench
        }

        fn assert_undone(&self, text: &[u8], mode: u32) {
            let user_config = self.user_config();
            assert!(user_config.install().unwrap());
            assert!(!user_config.install().unwrap(), "a second time");
            assert!(user_config.is_installed().unwrap());
            assert!(fs::read(self.file()).unwrap().starts_with(b"Include \""));
            assert_eq!(self.file().metadata().unwrap().mode() & 0o7777, mode);
            assert!(user_config.uninstall().unwrap());
            assert!(!user_config.uninstall().unwrap(), "a second time");
            assert_eq!(fs::read(self.file()).unwrap(), text);
            assert_eq!(self.file().metadata().unwrap().mode() & 0o7777, mode);
            let others = fs::read_dir(self.file().parent().unwrap()).unwrap().count();
            assert_eq!((others, self.root.path().join("state/ssh/installed.json").exists()), (1, false));
        }
    }

    #[test]
    fn every_file_is_left_as_it_was() {
        for (text, mode) in [
            (&b""[..], 0o600),
            (b"Host a\n  User b\n", 0o644),
            (b"Host a\n  User b", 0o600),
            (b"Host a\r\n  User b\r\n", 0o600),
            (b"Match host x\n", 0o400),
            (b"\xff\0\n\n", 0o640),
        ] {
            Bench::with(text, mode).assert_undone(text, mode);
        }
    }

    #[test]
    fn a_link_stays_one() {
        let bench = Bench::with(b"x", 0o600);
        let real = bench.root.path().join("dotfiles");
        fs::rename(bench.file(), &real).unwrap();
        symlink("../dotfiles", bench.file()).unwrap();
        bench.assert_undone(b"x", 0o600);
        assert_eq!(fs::read_link(bench.file()).unwrap(), Path::new("../dotfiles"));
        fs::remove_file(&real).unwrap();
        assert!(matches!(bench.user_config().install(), Err(SshError::Dangling { .. })));
        assert!(!real.exists() && bench.file().symlink_metadata().is_ok());
    }

    #[test]
    fn what_was_made_goes_unless_it_is_used() {
        let bench = Bench::new();
        let user_config = bench.user_config();
        assert!(!user_config.uninstall().unwrap());
        for mine in [None, Some("Host mine\n")] {
            assert!(user_config.install().unwrap());
            assert_eq!(bench.file().parent().unwrap().metadata().unwrap().mode() & 0o7777, 0o700);
            assert_eq!(bench.file().metadata().unwrap().mode() & 0o7777, 0o600);
            if let Some(mine) = mine {
                let text = fs::read(bench.file()).unwrap();
                fs::write(bench.file(), [&text[..], mine.as_bytes()].concat()).unwrap();
            }
            assert!(user_config.uninstall().unwrap());
            assert_eq!(bench.root.path().join(".ssh").exists(), mine.is_some());
        }
        assert_eq!(fs::read_to_string(bench.file()).unwrap(), "Host mine\n");
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let bench = Bench::new();
        fs::create_dir_all(bench.file()).unwrap();
        assert!(matches!(bench.user_config().install(), Err(SshError::NotFile(_))));
    }
}
