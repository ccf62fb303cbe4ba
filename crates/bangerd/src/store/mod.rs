//! What VMs, images and kernels *are*: intent, in SQLite. What is true right now (processes, sockets) is not
//! here.
//!
//! One file per table. Migrations only go forward; a database of a newer banger is refused.

mod backup;
mod error;
mod images;
mod kernels;
mod vms;
pub mod words;
mod workspaces;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use rusqlite::types::FromSql;
use rusqlite::{Connection, Row};
use rusqlite_migration::{M, Migrations};

pub use backup::{back_up, copies};
pub use error::StoreError;
pub use images::{ImageDetails, ImageRow, InPlace};
pub use kernels::KernelRow;
pub use vms::{StoredForward, StoredSpec, UnreadableVm, VmPhase, VmRow};
pub use workspaces::StoredWorkspace;

/// The state store. Clones share one connection; every call is a few pages of I/O at most, so none needs a
/// thread.
#[derive(Clone)]
pub struct Store {
    connection: Arc<Mutex<Connection>>,
}

impl Store {
    /// Opens the store, making or migrating it as needed.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened, is no database, or was made by a newer banger.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        check_file(path)?;
        match Self::open_as(path, "normal") {
            // What is shared takes a file of 32 KiB. Alone, somebody can still make room: list VMs, and
            // delete them.
            Err(error) if error.is_disk_full() => Self::open_as(path, "exclusive"),
            opened => opened,
        }
    }

    fn open_as(path: &Path, locking: &str) -> Result<Self, StoreError> {
        let open = |source| StoreError::Open { path: path.into(), source };
        let mut connection = Connection::open(path).map_err(open)?;
        connection.pragma_update(None, "locking_mode", locking).map_err(open)?;
        check_version(path, &connection)?;
        // FULL: a VM that was reported as created is there after a power cut, too.
        connection.pragma_update(None, "journal_mode", "WAL").map_err(open)?;
        connection.pragma_update(None, "synchronous", "FULL").map_err(open)?;
        connection.pragma_update(None, "foreign_keys", true).map_err(open)?;
        connection.busy_timeout(std::time::Duration::from_secs(5)).map_err(open)?;
        migrations()
            .to_latest(&mut connection)
            .map_err(|source| StoreError::Migrate { path: path.into(), source })?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)) })
    }

    /// Opens an existing store for looking only: nothing is made or migrated.
    ///
    /// # Errors
    ///
    /// When there is none, or it cannot be read.
    pub fn open_read_only(path: &Path) -> Result<Self, StoreError> {
        let open = |source| StoreError::Open { path: path.into(), source };
        check_file(path)?;
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(open)?;
        check_version(path, &connection)?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)) })
    }

    /// Reads the whole file and checks that it hangs together, and that it has every table.
    ///
    /// # Errors
    ///
    /// When it does not, or cannot be read.
    pub fn integrity_check(&self) -> Result<(), StoreError> {
        let connection = self.connection();
        quick_check(&connection)?;
        for (table, columns) in [
            ("images", images::COLUMNS),
            ("kernels", kernels::COLUMNS),
            ("vms", vms::COLUMNS),
            ("workspaces", "*"),
        ] {
            let read = connection.prepare(&format!("SELECT {columns} FROM {table}")).map(drop);
            read.map_err(StoreError::query("be read as this banger wrote it"))?;
        }
        Ok(())
    }

    /// Has nothing been written into it yet?
    pub fn is_blank(&self) -> bool {
        let tables = "SELECT count(*) FROM sqlite_schema";
        self.connection().query_row(tables, [], |row| row.get(0)) == Ok(0)
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A panic while holding the lock leaves no half-done change behind: SQLite rolls it back.
        self.connection.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Opening anything but a file could wait for ever, or tell the user about a database.
fn check_file(path: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::FileTypeExt as _;
    let no_file = |what| Err(StoreError::NoFile { path: path.into(), what });
    match path.metadata().map(|found| found.file_type()) {
        Ok(kind) if kind.is_file() => Ok(()),
        Ok(kind) if kind.is_dir() => no_file("a directory"),
        Ok(kind) if kind.is_fifo() => no_file("a FIFO"),
        Ok(_) => no_file("a socket or a device"),
        Err(_) if path.is_symlink() => no_file("a link that leads nowhere"),
        // SQLite tells.
        Err(_) => Ok(()),
    }
}

/// A column's value. One that is not of its kind leaves the rest of its row readable, and is noted.
fn lenient<T: FromSql + Default>(row: &Row<'_>, column: usize, whole: &mut bool) -> T {
    row.get(column).unwrap_or_else(|_| {
        *whole = false;
        T::default()
    })
}

/// The same of a text: what can be read of it.
fn lenient_text(row: &Row<'_>, column: usize, whole: &mut bool) -> String {
    match row.get_ref(column).map(|value| value.as_bytes().map(String::from_utf8_lossy)) {
        Ok(Ok(std::borrow::Cow::Borrowed(text))) => text.to_owned(),
        Ok(Ok(text)) => {
            *whole = false;
            text.into_owned()
        }
        _ => {
            *whole = false;
            String::new()
        }
    }
}

fn quick_check(connection: &Connection) -> Result<(), StoreError> {
    let verdict: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(StoreError::query("check its integrity"))?;
    if verdict == "ok" { Ok(()) } else { Err(StoreError::Corrupt { what: verdict }) }
}

/// How many migrations there are.
const SCHEMA: usize = 3;

/// A newer banger has put things into its store that this one knows nothing of: hands off.
fn check_version(path: &Path, connection: &Connection) -> Result<(), StoreError> {
    let found = connection.pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0));
    let found = found.map_err(|source| StoreError::Open { path: path.into(), source })?;
    match usize::try_from(found) {
        Ok(found) if found > SCHEMA => Err(StoreError::Newer { path: path.into(), found, known: SCHEMA }),
        _ => Ok(()),
    }
}

fn migrations() -> Migrations<'static> {
    Migrations::new(vec![
        M::up(
            "CREATE TABLE images (
            id TEXT PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            source TEXT NOT NULL,
            size_bytes INTEGER NOT NULL,
            sha256 TEXT NOT NULL,
            created_at_unix_ms INTEGER NOT NULL
        ) STRICT;
        CREATE TABLE kernels (
            id TEXT PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            source TEXT NOT NULL,
            release TEXT NOT NULL,
            sha256 TEXT NOT NULL,
            created_at_unix_ms INTEGER NOT NULL
        ) STRICT;
        CREATE TABLE vms (
            id TEXT PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            image_id TEXT REFERENCES images(id),
            kernel_id TEXT REFERENCES kernels(id),
            phase TEXT NOT NULL,
            created_at_unix_ms INTEGER NOT NULL,
            spec TEXT NOT NULL
        ) STRICT;",
        ),
        M::up(
            "CREATE TABLE workspaces (
            vm_id TEXT PRIMARY KEY REFERENCES vms(id) ON DELETE CASCADE,
            details TEXT NOT NULL
        ) STRICT;",
        ),
        M::up("ALTER TABLE images ADD COLUMN details TEXT NOT NULL DEFAULT '{}';"),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_are_valid() {
        migrations().validate().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("banger.db")).unwrap();
        let version = store.connection().pragma_query_value(None, "user_version", |row| row.get(0));
        assert_eq!(version, Ok(SCHEMA as i64));
    }

    /// What an earlier banger has written is read as it was meant, whatever has been renamed since.
    #[test]
    fn a_store_of_november_2026_opens_with_all_that_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("banger.db");
        let old = Connection::open(&path).unwrap();
        old.execute_batch(include_str!("fixtures/schema-3.sql")).unwrap();
        drop(old);
        let store = Store::open(&path).unwrap();
        store.integrity_check().unwrap();
        let images = store.images().unwrap();
        assert!(images.iter().all(|image| !image.details.unreadable));
        let vms: Vec<VmRow> = store.vms().unwrap().into_iter().map(Result::unwrap).collect();
        let workspaces: Vec<_> = vms.iter().map(|vm| store.workspace(&vm.id).unwrap()).collect();
        insta::assert_debug_snapshot!((images, store.kernels().unwrap(), vms, workspaces));
    }

    #[test]
    fn a_newer_store_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("banger.db");
        drop(Store::open(&path).unwrap());
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 999).unwrap();
        assert!(matches!(Store::open(&path), Err(StoreError::Newer { found: 999, .. })));
        assert!(matches!(Store::open_read_only(&path), Err(StoreError::Newer { .. })));
    }

    #[test]
    fn a_file_that_is_no_database_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("banger.db");
        std::fs::write(&path, "not a database, but long enough to look like one".repeat(50)).unwrap();
        assert!(Store::open(&path).is_err_and(|error| error.is_damage()));
        assert!(Store::open_read_only(&path).and_then(|store| store.integrity_check()).is_err());
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(Store::open(&path).is_err_and(|error| error.is_damage()));
        std::fs::remove_dir(&path).unwrap();
        // Nobody waits for a writer.
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert!(Store::open(&path).is_err_and(|error| error.is_damage()));
        assert!(Store::open_read_only(&path).is_err_and(|error| error.is_damage()));
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/not/mounted/banger.db", &path).unwrap();
        assert!(Store::open(&path).is_err_and(|error| !error.is_damage()));
    }

    #[test]
    fn a_store_without_one_of_its_tables_or_columns_is_damaged() {
        for damage in
            ["DROP TABLE vms", "DROP TABLE kernels", "ALTER TABLE images RENAME COLUMN sha256 TO sum"]
        {
            let dir = tempfile::tempdir().unwrap();
            let store = Store::open(&dir.path().join("banger.db")).unwrap();
            store.integrity_check().unwrap();
            store.connection().execute_batch(&format!("PRAGMA foreign_keys = off; {damage}")).unwrap();
            assert!(store.integrity_check().is_err_and(|error| error.is_damage()), "{damage}");
        }
    }

    #[test]
    fn a_damaged_row_of_an_image_or_kernel_hides_neither_itself_nor_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("banger.db")).unwrap();
        store.insert_image(&ImageRow { id: "1".into(), name: "one".into(), ..ImageRow::default() }).unwrap();
        store
            .insert_kernel(&KernelRow { id: "1".into(), name: "one".into(), ..KernelRow::default() })
            .unwrap();
        for damage in [
            "size_bytes = -5",
            "sha256 = CAST(x'ff' AS TEXT)",
            "details = '{'",
            "name = CAST(x'6f6eff' AS TEXT)",
        ] {
            store.connection().execute(&format!("UPDATE images SET {damage}"), []).unwrap();
            assert!(matches!(&store.images().unwrap()[..], [row] if row.details.unreadable), "{damage}");
        }
        for damage in ["created_at_unix_ms = -1", "name = CAST(x'6f6eff' AS TEXT)"] {
            store.connection().execute(&format!("UPDATE kernels SET {damage}"), []).unwrap();
            assert!(matches!(&store.kernels().unwrap()[..], [row] if row.unreadable), "{damage}");
        }
    }

    #[test]
    fn a_store_that_is_out_of_reach_is_not_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("banger.db");
        let reached = |error: StoreError| assert!(!error.is_damage(), "{error:?}");
        reached(Store::open(&dir.path().join("missing/banger.db")).err().unwrap());

        let store = Store::open(&path).unwrap();
        let pages: i64 = store.connection().pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
        let limit = format!("PRAGMA max_page_count = {pages}");
        store.connection().query_row(&limit, [], |_| Ok(())).unwrap();
        let fill = |n| store.insert_vm(&VmRow::example(&format!("{n:012}"), &format!("vm-{n}")));
        reached((0..1000).find_map(|n| fill(n).err()).unwrap());

        let other = Connection::open(&path).unwrap();
        other.busy_timeout(std::time::Duration::ZERO).unwrap();
        other.execute_batch("BEGIN EXCLUSIVE").unwrap();
        store.connection().busy_timeout(std::time::Duration::ZERO).unwrap();
        reached(fill(1).unwrap_err());
    }
}
