//! Files that are there whole or not at all, and what they really occupy.

use std::fs::{DirBuilder, DirEntry, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Why a file operation failed.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("could not {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{} has no parent directory", .0.display())]
    NoParent(PathBuf),
    #[error("{} is not a directory", .0.display())]
    NotDirectory(PathBuf),
    #[error("{} belongs to user {owner}, not to user {uid} who runs this", path.display())]
    ForeignOwner { path: PathBuf, owner: u32, uid: u32 },
    #[error("could not remove {}", path.display())]
    RemoveTree { path: PathBuf, source: crate::command::CommandError },
}

/// Turns an I/O error into one that says what was tried with which path.
pub(crate) fn cannot<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> FileError + 'a {
    move |source| FileError::Io { action, path: path.to_owned(), source }
}

/// Replaces a file: readers see the old content or the new one, a power cut as well. `mode` is the file's
/// permission bits.
///
/// # Errors
///
/// When the directory is missing or not writable, or the disk is full; the old file is then as it was.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let dir = parent(path)?;
    let mut staged = tempfile::Builder::new()
        .prefix(".staging-")
        .permissions(std::fs::Permissions::from_mode(mode))
        .tempfile_in(dir)
        .map_err(cannot("create a file in", dir))?;
    staged.write_all(bytes).map_err(cannot("write", path))?;
    // The creation mode went through the umask.
    staged
        .as_file()
        .set_permissions(std::fs::Permissions::from_mode(mode))
        .map_err(cannot("set the mode of", path))?;
    staged.as_file().sync_all().map_err(cannot("write", path))?;
    staged.persist(path).map_err(|error| error.error).map_err(cannot("replace", path))?;
    sync_dir(dir)
}

/// Moves a finished file or directory to its final name, after its content has reached the disk. A directory
/// must not exist at `dest` yet (an empty one may); a file is replaced.
///
/// # Errors
///
/// When something cannot be synced or the rename is refused.
pub fn publish(staged: &Path, dest: &Path) -> Result<(), FileError> {
    sync_tree(staged)?;
    std::fs::rename(staged, dest).map_err(cannot("move the finished result to", dest))?;
    sync_dir(parent(dest)?)
}

/// Syncs regular files and directories, in depth. Symbolic links and devices have no content of their own.
fn sync_tree(path: &Path) -> Result<(), FileError> {
    let kind = path.symlink_metadata().map_err(cannot("read", path))?.file_type();
    if kind.is_dir() {
        for entry in std::fs::read_dir(path).map_err(cannot("read", path))? {
            sync_tree(&entry.map_err(cannot("read", path))?.path())?;
        }
        return sync_dir(path);
    }
    if kind.is_file() {
        File::open(path).and_then(|file| file.sync_all()).map_err(cannot("sync", path))?;
    }
    Ok(())
}

fn sync_dir(dir: &Path) -> Result<(), FileError> {
    File::open(dir).and_then(|file| file.sync_all()).map_err(cannot("sync", dir))
}

fn parent(path: &Path) -> Result<&Path, FileError> {
    match path.parent() {
        Some(dir) if dir.as_os_str().is_empty() => Ok(Path::new(".")),
        Some(dir) => Ok(dir),
        None => Err(FileError::NoParent(path.to_owned())),
    }
}

/// Makes a directory (and missing parents) that only we may enter, or makes sure that an existing one is ours
/// and so.
///
/// # Errors
///
/// When it is no directory, belongs to someone else, or cannot be made.
pub fn private_dir(path: &Path) -> Result<(), FileError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(cannot("create the directory", path))?;
    let meta = path.symlink_metadata().map_err(cannot("read", path))?;
    if !meta.is_dir() {
        return Err(FileError::NotDirectory(path.to_owned()));
    }
    let uid = crate::system::uid();
    if meta.uid() != uid {
        return Err(FileError::ForeignOwner { path: path.to_owned(), owner: meta.uid(), uid });
    }
    if meta.mode() & 0o777 != 0o700 {
        let private = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(path, private).map_err(cannot("set the mode of", path))?;
    }
    Ok(())
}

/// Makes a file of `size_bytes` that occupies nothing yet, mode 0600. It must not exist.
///
/// # Errors
///
/// When it exists, the directory does not, or the filesystem cannot hold a file that large.
pub fn create_sparse(path: &Path, size_bytes: u64) -> Result<(), FileError> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let file = file.map_err(cannot("create", path))?;
    file.set_len(size_bytes).map_err(cannot("set the size of", path))
}

/// What is in a directory. One that is not there has nothing in it.
///
/// # Errors
///
/// When it is there and cannot be read to its end.
pub fn entries(dir: &Path) -> Result<Vec<DirEntry>, FileError> {
    match std::fs::read_dir(dir).and_then(Iterator::collect) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(cannot("read the directory", dir)),
    }
}

/// What a file occupies on disk, in bytes; less than its length when it is sparse.
///
/// # Errors
///
/// When it cannot be looked at.
pub fn allocated_bytes(path: &Path) -> Result<u64, FileError> {
    // In units of 512 bytes, whatever the filesystem's block size.
    Ok(path.symlink_metadata().map_err(cannot("read", path))?.blocks() * 512)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().mode() & 0o7777
    }

    #[test]
    fn an_atomic_write_replaces_and_leaves_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        write_atomic(&path, b"old", 0o600).unwrap();
        write_atomic(&path, b"new", 0o644).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(mode(&path), 0o644);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_keeps_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("d");
        std::fs::create_dir(&target).unwrap();
        let error = write_atomic(&target, b"x", 0o600).unwrap_err();
        assert_eq!(error.to_string(), format!("could not replace {}", target.display()));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_private_directory_is_tightened_and_a_file_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        private_dir(&path).unwrap();
        assert_eq!((mode(&path), mode(&dir.path().join("a"))), (0o700, 0o700));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        private_dir(&path).unwrap();
        assert_eq!(mode(&path), 0o700);
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(matches!(private_dir(&link), Err(FileError::NotDirectory(_))));
    }

    #[test]
    fn a_directory_that_is_not_there_is_empty_and_one_that_cannot_be_read_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f");
        std::fs::write(&file, "x").unwrap();
        assert_eq!(entries(dir.path()).unwrap().len(), 1);
        assert!(entries(&dir.path().join("missing")).unwrap().is_empty());
        let error = entries(&file).unwrap_err();
        assert_eq!(error.to_string(), format!("could not read the directory {}", file.display()));
    }

    #[test]
    fn a_sparse_file_occupies_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        create_sparse(&path, 1 << 30).unwrap();
        assert_eq!((path.metadata().unwrap().len(), allocated_bytes(&path).unwrap()), (1 << 30, 0));
        assert_eq!(mode(&path), 0o600);
        assert!(create_sparse(&path, 1).is_err());
    }
}
