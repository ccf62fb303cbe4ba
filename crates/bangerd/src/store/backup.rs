//! Copies of the store, made before anything is done to it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use banger_host::files::{FileError, entries, private_dir};
use rusqlite::{Connection, OpenFlags};

use super::{StoreError, quick_check};
use crate::clock::unix_ms;

/// How many are kept, each of another content.
const KEPT: usize = 3;

const PREFIX: &str = "banger-";
const SUFFIX: &str = ".db";

/// Copies the store into `dir` with SQLite's own online backup, and removes all but the last three copies. A
/// store that has not changed since the newest one is not copied again. Answers the new copy.
///
/// # Errors
///
/// When the store is damaged, or the copy cannot be made; older copies then stay.
pub fn back_up(store: &Path, dir: &Path) -> Result<Option<PathBuf>, StoreError> {
    if store.metadata().map_or(0, |meta| meta.len()) == 0 {
        return Ok(None);
    }
    let open = |source| StoreError::Open { path: store.into(), source };
    // Not read-only: what a killed daemon left in the WAL has to be taken in.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(store, flags).map_err(open)?;
    connection.busy_timeout(Duration::from_secs(5)).map_err(open)?;
    quick_check(&connection)?;
    let failed =
        |source: Box<dyn std::error::Error + Send + Sync>| StoreError::BackUp { path: dir.into(), source };
    private_dir(dir).map_err(|error| failed(error.into()))?;
    let staged = tempfile::Builder::new()
        .prefix(".staging-")
        .tempfile_in(dir)
        .map_err(|error| failed(error.into()))?;
    copy(&connection, staged.path()).map_err(|error| failed(error.into()))?;
    let mut older = copies(dir).map_err(|error| failed(error.into()))?;
    let is_newest = |newest: &PathBuf| same_content(newest, staged.path());
    if older.last().is_some_and(is_newest) {
        return Ok(None);
    }
    let path = dir.join(format!("{PREFIX}{:013}{SUFFIX}", unix_ms()));
    staged.as_file().sync_all().map_err(|error| failed(error.into()))?;
    staged.persist(&path).map_err(|error| failed(error.error.into()))?;
    older.retain(|copy| *copy != path);
    let surplus = (older.len() + 1).saturating_sub(KEPT);
    for old in older.drain(..surplus) {
        if let Err(error) = std::fs::remove_file(&old) {
            tracing::warn!(path = %old.display(), %error, "an old copy of the store stays");
        }
    }
    Ok(Some(path))
}

fn copy(from: &Connection, to: &Path) -> rusqlite::Result<()> {
    let mut target = Connection::open(to)?;
    let backup = rusqlite::backup::Backup::new(from, &mut target)?;
    backup.run_to_completion(256, Duration::ZERO, None)
}

/// The copies in `dir`, oldest first.
///
/// # Errors
///
/// When `dir` is there and cannot be read.
pub fn copies(dir: &Path) -> Result<Vec<PathBuf>, FileError> {
    let entries = entries(dir)?.into_iter();
    let is_copy = |name: &str| name.starts_with(PREFIX) && name.ends_with(SUFFIX);
    let named = entries.filter(|entry| entry.file_name().to_str().is_some_and(is_copy));
    let mut found: Vec<PathBuf> = named.map(|entry| entry.path()).collect();
    found.sort();
    Ok(found)
}

fn same_content(a: &Path, b: &Path) -> bool {
    // What cannot be read is no copy of anything.
    matches!((std::fs::read(a), std::fs::read(b)), (Ok(a), Ok(b)) if a == b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Store, VmRow};

    #[test]
    fn the_last_three_states_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (path, backups) = (dir.path().join("banger.db"), dir.path().join("backups"));
        assert_eq!(back_up(&path, &backups).unwrap(), None);
        let store = Store::open(&path).unwrap();
        let mut made = Vec::new();
        for n in 0..5 {
            store.insert_vm(&VmRow::example(&format!("{n:012}"), &format!("vm-{n}"))).unwrap();
            made.extend(back_up(&path, &backups).unwrap());
            // The same state again is no news, however often the daemon starts.
            assert_eq!(back_up(&path, &backups).unwrap(), None);
            std::thread::sleep(Duration::from_millis(2));
        }
        assert_eq!(copies(&backups).unwrap(), made[2..]);
        let newest = Store::open(made.last().unwrap()).unwrap();
        assert_eq!(newest.vms().unwrap().len(), 5);
    }

    #[test]
    fn a_damaged_store_takes_no_copy_away() {
        let dir = tempfile::tempdir().unwrap();
        let (path, backups) = (dir.path().join("banger.db"), dir.path().join("backups"));
        drop(Store::open(&path).unwrap());
        let copy = back_up(&path, &backups).unwrap().unwrap();
        for suffix in ["", "-wal", "-shm"] {
            let mut name = path.clone().into_os_string();
            name.push(suffix);
            // The last two are not always there.
            drop(std::fs::remove_file(name));
        }
        std::fs::write(&path, "no database, but as long as one could be".repeat(200)).unwrap();
        assert!(back_up(&path, &backups).is_err());
        assert_eq!(copies(&backups).unwrap(), [copy]);
    }
}
