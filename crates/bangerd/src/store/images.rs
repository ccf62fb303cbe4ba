use rusqlite::{OptionalExtension as _, Row, params};

use super::{Store, StoreError};

/// An image that is whole and on this host; its files lie in `images/<id>/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageRow {
    pub id: String,
    pub name: String,
    /// Where it came from, for people: `debian trixie`.
    pub source: String,
    pub size_bytes: u64,
    pub sha256: String,
    pub created_at_unix_ms: u64,
}

const COLUMNS: &str = "id, name, source, size_bytes, sha256, created_at_unix_ms";

impl ImageRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            name: row.get(1)?,
            source: row.get(2)?,
            size_bytes: row.get(3)?,
            sha256: row.get(4)?,
            created_at_unix_ms: row.get(5)?,
        })
    }
}

impl Store {
    pub fn insert_image(&self, image: &ImageRow) -> Result<(), StoreError> {
        self.connection()
            .execute(
                &format!("INSERT INTO images ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6)"),
                params![
                    image.id,
                    image.name,
                    image.source,
                    image.size_bytes,
                    image.sha256,
                    image.created_at_unix_ms
                ],
            )
            .map_err(StoreError::query("add the image"))?;
        Ok(())
    }

    pub fn images(&self) -> Result<Vec<ImageRow>, StoreError> {
        let connection = self.connection();
        let mut statement = connection
            .prepare_cached(&format!("SELECT {COLUMNS} FROM images ORDER BY name"))
            .map_err(StoreError::query("list the images"))?;
        let rows = statement.query_map([], ImageRow::read).and_then(Iterator::collect);
        rows.map_err(StoreError::query("list the images"))
    }

    pub fn image(&self, name: &str) -> Result<Option<ImageRow>, StoreError> {
        self.connection()
            .query_row(&format!("SELECT {COLUMNS} FROM images WHERE name = ?1"), [name], ImageRow::read)
            .optional()
            .map_err(StoreError::query("look up the image"))
    }

    pub fn image_by_id(&self, id: &str) -> Result<Option<ImageRow>, StoreError> {
        self.connection()
            .query_row(&format!("SELECT {COLUMNS} FROM images WHERE id = ?1"), [id], ImageRow::read)
            .optional()
            .map_err(StoreError::query("look up the image"))
    }

    /// Removes the row unless a VM uses the image; says whether it did.
    pub fn delete_unused_image(&self, id: &str) -> Result<bool, StoreError> {
        let removed = self
            .connection()
            .execute("DELETE FROM images WHERE id = ?1 AND id NOT IN (SELECT image_id FROM vms WHERE image_id IS NOT NULL)", [id])
            .map_err(StoreError::query("remove the image"))?;
        Ok(removed > 0)
    }

    /// Names of the VMs that use the image.
    pub fn image_users(&self, id: &str) -> Result<Vec<String>, StoreError> {
        self.names("SELECT name FROM vms WHERE image_id = ?1 ORDER BY name", id)
    }

    pub(super) fn names(&self, query: &str, id: &str) -> Result<Vec<String>, StoreError> {
        let connection = self.connection();
        let mut statement = connection.prepare_cached(query).map_err(StoreError::query("list the users"))?;
        let rows = statement.query_map([id], |row| row.get(0)).and_then(Iterator::collect);
        rows.map_err(StoreError::query("list the users"))
    }
}
