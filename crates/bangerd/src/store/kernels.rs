use rusqlite::{OptionalExtension as _, Row, params};
use serde::{Deserialize, Serialize};

use super::{Store, StoreError, lenient, lenient_text};

/// A kernel that is whole and on this host; its files lie in `kernels/<id>/`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KernelRow {
    pub id: String,
    pub name: String,
    /// Where it came from, for people: `debian trixie`.
    pub source: String,
    /// What `uname -r` prints.
    pub release: String,
    pub sha256: String,
    pub created_at_unix_ms: u64,
    /// Something of the row could not be read.
    #[serde(skip)]
    pub unreadable: bool,
}

pub(super) const COLUMNS: &str = "id, name, source, release, sha256, created_at_unix_ms";

impl KernelRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let mut whole = true;
        let kernel = Self {
            id: lenient_text(row, 0, &mut whole),
            name: lenient_text(row, 1, &mut whole),
            source: lenient_text(row, 2, &mut whole),
            release: lenient_text(row, 3, &mut whole),
            sha256: lenient_text(row, 4, &mut whole),
            created_at_unix_ms: lenient(row, 5, &mut whole),
            unreadable: false,
        };
        Ok(Self { unreadable: !whole, ..kernel })
    }
}

impl Store {
    pub fn insert_kernel(&self, kernel: &KernelRow) -> Result<(), StoreError> {
        self.connection()
            .execute(
                &format!("INSERT INTO kernels ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6)"),
                params![
                    kernel.id,
                    kernel.name,
                    kernel.source,
                    kernel.release,
                    kernel.sha256,
                    kernel.created_at_unix_ms
                ],
            )
            .map_err(StoreError::query("add the kernel"))?;
        Ok(())
    }

    /// Writes a damaged row anew.
    pub fn rewrite_kernel(&self, kernel: &KernelRow) -> Result<(), StoreError> {
        self.connection()
            .execute(
                "UPDATE kernels SET name = ?2, source = ?3, release = ?4, sha256 = ?5, created_at_unix_ms = ?6
                 WHERE id = ?1",
                params![
                    kernel.id,
                    kernel.name,
                    kernel.source,
                    kernel.release,
                    kernel.sha256,
                    kernel.created_at_unix_ms
                ],
            )
            .map_err(StoreError::query("repair the kernel"))?;
        Ok(())
    }

    pub fn kernels(&self) -> Result<Vec<KernelRow>, StoreError> {
        let connection = self.connection();
        let mut statement = connection
            .prepare_cached(&format!("SELECT {COLUMNS} FROM kernels ORDER BY name"))
            .map_err(StoreError::query("list the kernels"))?;
        let rows = statement.query_map([], KernelRow::read).and_then(Iterator::collect);
        rows.map_err(StoreError::query("list the kernels"))
    }

    pub fn kernel(&self, name: &str) -> Result<Option<KernelRow>, StoreError> {
        self.connection()
            .query_row(&format!("SELECT {COLUMNS} FROM kernels WHERE name = ?1"), [name], KernelRow::read)
            .optional()
            .map_err(StoreError::query("look up the kernel"))
    }

    pub fn kernel_by_id(&self, id: &str) -> Result<Option<KernelRow>, StoreError> {
        self.connection()
            .query_row(&format!("SELECT {COLUMNS} FROM kernels WHERE id = ?1"), [id], KernelRow::read)
            .optional()
            .map_err(StoreError::query("look up the kernel"))
    }

    /// Removes the row unless a VM uses the kernel; says whether it did.
    pub fn delete_unused_kernel(&self, id: &str) -> Result<bool, StoreError> {
        let removed = self
            .connection()
            .execute("DELETE FROM kernels WHERE id = ?1 AND id NOT IN (SELECT kernel_id FROM vms WHERE kernel_id IS NOT NULL)", [id])
            .map_err(StoreError::query("remove the kernel"))?;
        Ok(removed > 0)
    }

    /// Names of the VMs that use the kernel.
    pub fn kernel_users(&self, id: &str) -> Result<Vec<String>, StoreError> {
        self.names("SELECT name FROM vms WHERE kernel_id = ?1 ORDER BY name", id)
    }
}
