//! A file in a directory of the user's that appears whole, or not at all.

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, OFlags, linkat};
use rustix::io::Errno;
use tempfile::NamedTempFile;

use crate::files::{FileError, cannot};
use crate::staging::STAGING_PREFIX;

/// What a file gets that somebody else may want to read as well, before the umask.
const MODE: u32 = 0o666;

/// A file that has no name yet. Dropped without one it leaves nothing, and killed neither, where the file
/// system can make such files.
#[derive(Debug)]
pub struct OutputFile {
    dest: PathBuf,
    dir: PathBuf,
    staged: Staged,
}

#[derive(Debug)]
enum Staged {
    Unnamed(File),
    /// Where the file system knows no unnamed files.
    Named(NamedTempFile),
}

impl OutputFile {
    /// Begins the file that is to be `dest`, for somebody who has this umask.
    ///
    /// # Errors
    ///
    /// When its directory does not exist or cannot be written.
    pub fn new(dest: &Path, umask: u32) -> Result<Self, FileError> {
        let dir = match dest.parent() {
            Some(dir) if dir.as_os_str().is_empty() => Path::new("."),
            Some(dir) => dir,
            None => return Err(FileError::NoParent(dest.into())),
        };
        let flags = OFlags::TMPFILE.bits().cast_signed();
        let unnamed = OpenOptions::new().read(true).write(true).mode(0o600).custom_flags(flags).open(dir);
        let staged = match unnamed {
            Ok(file) => Staged::Unnamed(file),
            Err(error) if knows_none(&error) => Staged::Named(named(dir)?),
            Err(error) => return Err(cannot("create a file in", dir)(error)),
        };
        let begun = Self { dest: dest.into(), dir: dir.into(), staged };
        let permissions = Permissions::from_mode(MODE & !umask);
        begun.file().set_permissions(permissions).map_err(cannot("set the mode of", dest))?;
        Ok(begun)
    }

    pub fn file(&self) -> &File {
        match &self.staged {
            Staged::Unnamed(file) => file,
            Staged::Named(named) => named.as_file(),
        }
    }

    /// Syncs it and gives it its name. An existing file is replaced when `replace` is set.
    ///
    /// # Errors
    ///
    /// When there is a file of that name and `replace` is not set, or the disk is full.
    pub fn publish(self, replace: bool) -> Result<(), FileError> {
        self.file().sync_all().map_err(cannot("write", &self.dest))?;
        match self.staged {
            Staged::Unnamed(file) => name(&file, &self.dest, &self.dir, replace),
            Staged::Named(named) if replace => {
                named.persist(&self.dest).map(drop).map_err(|error| error.error)
            }
            Staged::Named(named) => {
                named.persist_noclobber(&self.dest).map(drop).map_err(|error| error.error)
            }
        }
        .map_err(cannot("create", &self.dest))?;
        File::open(&self.dir).and_then(|dir| dir.sync_all()).map_err(cannot("sync", &self.dir))
    }
}

fn name(file: &File, dest: &Path, dir: &Path, replace: bool) -> io::Result<()> {
    let itself = format!("/proc/self/fd/{}", file.as_raw_fd());
    let link = |to: &Path| linkat(CWD, &itself, CWD, to, AtFlags::SYMLINK_FOLLOW);
    match link(dest) {
        Err(Errno::EXIST) if replace => {}
        linked => return Ok(linked?),
    }
    // A name cannot be replaced by linking: a second one takes its place by a rename.
    let beside = tempfile::Builder::new().prefix(STAGING_PREFIX).make_in(dir, |path| Ok(link(path)?))?;
    beside.persist(dest).map(drop).map_err(|error| error.error)
}

fn named(dir: &Path) -> Result<NamedTempFile, FileError> {
    let private = Permissions::from_mode(0o600);
    let staged = tempfile::Builder::new().prefix(STAGING_PREFIX).permissions(private).tempfile_in(dir);
    staged.map_err(cannot("create a file in", dir))
}

fn knows_none(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    [Errno::OPNOTSUPP, Errno::ISDIR, Errno::INVAL].map(Some).contains(&errno)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn entries(dir: &Path) -> usize {
        std::fs::read_dir(dir).unwrap().count()
    }

    #[test]
    fn it_appears_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let dest = dir.path().join("out");
        for unnamed in [true, false] {
            let begin = || match unnamed {
                true => OutputFile::new(&dest, 0o027).unwrap(),
                false => OutputFile {
                    dest: dest.clone(),
                    dir: dir.path().into(),
                    staged: Staged::Named(named(dir.path()).unwrap()),
                },
            };
            let output = begin();
            output.file().write_all(b"half").unwrap();
            drop(output);
            assert_eq!(entries(dir.path()), 0);

            let output = begin();
            output.file().write_all(b"first").unwrap();
            output.publish(false).unwrap();
            let output = begin();
            output.file().write_all(b"second").unwrap();
            let error = output.publish(false).unwrap_err();
            assert!(
                matches!(&error, FileError::Io { source, .. } if source.kind() == io::ErrorKind::AlreadyExists)
            );
            assert_eq!(std::fs::read(&dest).unwrap(), b"first");

            let output = begin();
            output.file().write_all(b"third").unwrap();
            output.publish(true).unwrap();
            assert_eq!(std::fs::read(&dest).unwrap(), b"third");
            assert_eq!(entries(dir.path()), 1);
            std::fs::remove_file(&dest).unwrap();
        }
    }

    #[test]
    fn a_missing_directory_is_named() {
        let error = OutputFile::new(Path::new("/nonexistent/x"), 0).unwrap_err();
        assert_eq!(error.to_string(), "could not create a file in /nonexistent");
    }
}
