//! Directories for work in progress: published by a rename or gone.
//!
//! A [`StagingDir`] is locked while its owner lives, and the kernel drops the lock when the owner dies,
//! however it dies. So what a killed daemon left behind is told from work in progress without asking any pid.

use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::command::Command;
use crate::files::{FileError, cannot, publish};

/// How the name of work in progress begins.
pub const STAGING_PREFIX: &str = ".staging-";

/// A directory for work in progress, mode 0700; removed when dropped.
#[derive(Debug)]
pub struct StagingDir {
    path: PathBuf,
    /// Holds the lock.
    _lock: File,
    published: bool,
}

impl StagingDir {
    /// Makes one in `parent`, which must be on the filesystem of the later destination.
    ///
    /// # Errors
    ///
    /// When the directory cannot be made or locked.
    pub fn new(parent: &Path) -> Result<Self, FileError> {
        loop {
            let dir = tempfile::Builder::new()
                .prefix(STAGING_PREFIX)
                .tempdir_in(parent)
                .map_err(cannot("create a directory in", parent))?;
            let lock = File::open(dir.path()).map_err(cannot("open", dir.path()))?;
            let locked = flock(&lock, FlockOperation::LockExclusive);
            locked.map_err(|errno| cannot("lock", dir.path())(errno.into()))?;
            // `remove_stale` may have come in before the lock and taken the new directory for a dead one's.
            if is_same(&lock, dir.path()) {
                return Ok(Self { path: dir.keep(), _lock: lock, published: false });
            }
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Syncs the content and gives the directory its final name.
    ///
    /// # Errors
    ///
    /// When the content cannot be synced or `dest` is taken; the directory is then removed.
    pub fn publish(mut self, dest: &Path) -> Result<(), FileError> {
        publish(&self.path, dest)?;
        self.published = true;
        Ok(())
    }
}

impl Drop for StagingDir {
    fn drop(&mut self) {
        if self.published {
            return;
        }
        if let Err(error) = std::fs::remove_dir_all(&self.path) {
            // Files of sub-uids, for instance. `remove_stale` gets them.
            tracing::info!(path = %self.path.display(), %error, "left for the next clean-up");
        }
    }
}

fn is_same(open: &File, path: &Path) -> bool {
    match (open.metadata(), path.symlink_metadata()) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

/// Removes the staging directories (and staged files) in `parent` whose owner is dead, and answers their
/// paths. A `parent` that does not exist holds none.
///
/// # Errors
///
/// The first thing that could not be removed, after trying all.
pub async fn remove_stale(parent: &Path) -> Result<Vec<PathBuf>, FileError> {
    let entries = match std::fs::read_dir(parent) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(cannot("read", parent)(error)),
    };
    let (mut removed, mut first_error) = (Vec::new(), None);
    for entry in entries {
        let path = entry.map_err(cannot("read", parent))?.path();
        let staged = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(STAGING_PREFIX));
        // The lock is held until the directory is gone, so that a second cleaner leaves it alone.
        let Some(_lock) = staged.then(|| lock_dead(&path)).flatten() else { continue };
        match remove_tree(&path).await {
            Ok(()) => removed.push(path),
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    first_error.map_or(Ok(removed), Err)
}

/// The lock of a staging directory that nobody holds.
fn lock_dead(path: &Path) -> Option<File> {
    // What cannot be opened cannot be taken for dead: it stays.
    let file = File::open(path).ok()?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Some(file),
        Err(rustix::io::Errno::WOULDBLOCK) => None,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "could not lock a staging directory");
            None
        }
    }
}

/// Removes a finished directory: it loses its name first, so that what is left when this is cut off is known
/// for what it is, and removed by [`remove_stale`]. One that is not there is fine.
///
/// # Errors
///
/// When something of it cannot be removed; it has lost its name then, and can be discarded again.
pub async fn discard(path: &Path) -> Result<(), FileError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let nameless = path.with_file_name(format!("{STAGING_PREFIX}gone-{name}"));
    // Of an attempt that failed.
    remove_tree(&nameless).await?;
    match std::fs::rename(path, &nameless) {
        Ok(()) => remove_tree(&nameless).await,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(cannot("remove", path)(error)),
    }
}

/// Removes a file or tree; one that is not there is fine. An ordinary user gets rid of files of its sub-uids
/// as well, which an image build that was cut off leaves behind.
///
/// # Errors
///
/// When something in it cannot be removed.
pub async fn remove_tree(path: &Path) -> Result<(), FileError> {
    let target = path.to_owned();
    let result = tokio::task::spawn_blocking(move || remove_now(&target)).await;
    match result.unwrap_or_else(|panic| Err(io::Error::other(panic))) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !crate::system::is_root() => {
            if grant(path).and_then(|()| remove_now(path)).is_ok() {
                return Ok(());
            }
            let remove = Command::new("unshare").args([
                "--user",
                "--map-root-user",
                "--map-auto",
                "--",
                "rm",
                "-rf",
                "--",
            ]);
            let result = remove.arg(path).run().await;
            result.map(drop).map_err(|source| FileError::RemoveTree { path: path.to_owned(), source })
        }
        result => result.map_err(cannot("remove", path)),
    }
}

/// Lets the user into the directories of a tree that are his own, whatever their modes are.
fn grant(path: &Path) -> io::Result<()> {
    if !path.symlink_metadata()?.is_dir() {
        return Ok(());
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))?;
    std::fs::read_dir(path)?.try_for_each(|entry| grant(&entry?.path()))
}

fn remove_now(path: &Path) -> io::Result<()> {
    let result = match path.symlink_metadata() {
        Ok(meta) if meta.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    result.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unpublished_work_goes_away_and_published_work_stays() {
        let parent = tempfile::tempdir().unwrap();
        let dest = parent.path().join("image");
        let dropped = StagingDir::new(parent.path()).unwrap();
        std::fs::write(dropped.path().join("half"), b"x").unwrap();
        drop(dropped);
        let done = StagingDir::new(parent.path()).unwrap();
        std::fs::write(done.path().join("whole"), b"x").unwrap();
        done.publish(&dest).unwrap();
        let names: Vec<_> =
            std::fs::read_dir(parent.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(names, std::slice::from_ref(&dest));
        assert!(dest.join("whole").exists());
    }

    #[test]
    fn a_taken_destination_is_refused_and_kept() {
        let parent = tempfile::tempdir().unwrap();
        let dest = parent.path().join("image");
        std::fs::create_dir(&dest).unwrap();
        std::fs::write(dest.join("old"), b"x").unwrap();
        assert!(StagingDir::new(parent.path()).unwrap().publish(&dest).is_err());
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 1);
        assert!(dest.join("old").exists());
    }

    #[tokio::test]
    async fn what_is_discarded_is_gone_and_half_of_it_is_known_for_that() {
        let parent = tempfile::tempdir().unwrap();
        let dir = parent.path().join("image");
        discard(&dir).await.unwrap();
        std::fs::create_dir_all(parent.path().join(".staging-gone-image/left")).unwrap();
        std::fs::create_dir_all(dir.join("tree")).unwrap();
        discard(&dir).await.unwrap();
        assert_eq!(std::fs::read_dir(parent.path()).unwrap().count(), 0);
        std::fs::create_dir_all(parent.path().join(".staging-gone-image/left")).unwrap();
        assert_eq!(remove_stale(parent.path()).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn only_what_the_dead_left_is_removed() {
        let parent = tempfile::tempdir().unwrap();
        let alive = StagingDir::new(parent.path()).unwrap();
        let dead = parent.path().join(".staging-dead");
        std::fs::create_dir_all(dead.join("tree/of")).unwrap();
        std::fs::write(parent.path().join(".staging-file"), b"x").unwrap();
        std::fs::create_dir(parent.path().join("image")).unwrap();
        let mut removed = remove_stale(parent.path()).await.unwrap();
        removed.sort();
        assert_eq!(removed, [dead, parent.path().join(".staging-file")]);
        assert!(alive.path().exists() && parent.path().join("image").exists());
        assert!(remove_stale(&parent.path().join("missing")).await.unwrap().is_empty());
    }
}
