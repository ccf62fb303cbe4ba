use std::path::PathBuf;

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::{Deserialize, Serialize};

use super::words::RunConfig;
use super::{Store, StoreError, lenient, lenient_text};

/// An image that is whole and on this host; its files lie in `images/<id>/`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRow {
    pub id: String,
    pub name: String,
    /// Where it came from, for people: `debian trixie`.
    pub source: String,
    pub size_bytes: u64,
    /// Of what it was made from, in hex (docs/decisions/0005).
    pub sha256: String,
    pub created_at_unix_ms: u64,
    pub details: ImageDetails,
}

/// What else is known of an image. Images of earlier builds have none of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageDetails {
    /// The full OCI reference that it was pulled by.
    pub reference: Option<String>,
    /// The reference that the archive had it under which it was imported from. No registry is asked by it:
    /// who has an image of his own may call it as somebody else does his.
    pub archived_as: Option<String>,
    /// How its maker wants programs to be run in it.
    pub config: RunConfig,
    /// Digests of its layers in the blob cache, `sha256:...`.
    pub blobs: Vec<String>,
    /// The kernel of its VMs when nobody asks for another.
    pub kernel: Option<String>,
    /// A file of the user's that is used where it lies.
    pub in_place: Option<InPlace>,
    /// Something of the row could not be read: nothing is concluded from what is missing.
    #[serde(skip)]
    pub unreadable: bool,
}

/// A file of the user's, as it was when it was imported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InPlace {
    pub path: PathBuf,
    /// Nanoseconds since the Unix epoch.
    pub mtime_unix_ns: i128,
}

pub(super) const COLUMNS: &str = "id, name, source, size_bytes, sha256, created_at_unix_ms, details";

impl ImageRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let mut whole = true;
        let image = Self {
            id: lenient_text(row, 0, &mut whole),
            name: lenient_text(row, 1, &mut whole),
            source: lenient_text(row, 2, &mut whole),
            size_bytes: lenient(row, 3, &mut whole),
            sha256: lenient_text(row, 4, &mut whole),
            created_at_unix_ms: lenient(row, 5, &mut whole),
            details: serde_json::from_str(&lenient_text(row, 6, &mut whole)).unwrap_or_else(|_| {
                whole = false;
                ImageDetails::default()
            }),
        };
        // One that is damaged hides neither itself nor the others.
        let details = ImageDetails { unreadable: !whole, ..image.details };
        Ok(Self { details, ..image })
    }
}

impl Store {
    pub fn insert_image(&self, image: &ImageRow) -> Result<(), StoreError> {
        insert(&self.connection(), image).map_err(StoreError::query("add the image"))
    }

    /// Adds an image in the place of an older one of its name. That one's row goes when no VM uses it; else
    /// it goes on under the name `aside`. Answers whether it went.
    pub fn replace_image(&self, image: &ImageRow, old_id: &str, aside: &str) -> Result<bool, StoreError> {
        let failed = || StoreError::query("replace the image");
        let mut connection = self.connection();
        let change = connection.transaction().map_err(failed())?;
        let removed = change.execute(DELETE_UNUSED, [old_id]).map_err(failed())? > 0;
        if !removed {
            change.execute("UPDATE images SET name = ?2 WHERE id = ?1", [old_id, aside]).map_err(failed())?;
        }
        insert(&change, image).map_err(failed())?;
        change.commit().map_err(failed())?;
        Ok(removed)
    }

    /// Writes down an image's details and checksum anew; says whether it is still there.
    pub fn update_image(&self, image: &ImageRow) -> Result<bool, StoreError> {
        let details = details_json(&image.details).map_err(StoreError::query("change the image"))?;
        let changed = self
            .connection()
            .execute(
                "UPDATE images SET details = ?2, sha256 = ?3 WHERE id = ?1",
                params![image.id, details, image.sha256],
            )
            .map_err(StoreError::query("change the image"))?;
        Ok(changed > 0)
    }

    /// Writes a damaged row anew.
    pub fn rewrite_image(&self, image: &ImageRow) -> Result<(), StoreError> {
        self.connection()
            .execute(
                "UPDATE images SET name = ?2, source = ?3, size_bytes = ?4, sha256 = ?5, created_at_unix_ms = ?6,
                 details = ?7 WHERE id = ?1",
                params![
                    image.id,
                    image.name,
                    image.source,
                    image.size_bytes,
                    image.sha256,
                    image.created_at_unix_ms,
                    details_json(&image.details).map_err(StoreError::query("repair the image"))?
                ],
            )
            .map_err(StoreError::query("repair the image"))?;
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
        let removed =
            self.connection().execute(DELETE_UNUSED, [id]).map_err(StoreError::query("remove the image"))?;
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

const DELETE_UNUSED: &str =
    "DELETE FROM images WHERE id = ?1 AND id NOT IN (SELECT image_id FROM vms WHERE image_id IS NOT NULL)";

fn insert(connection: &Connection, image: &ImageRow) -> rusqlite::Result<()> {
    connection.execute(
        &format!("INSERT INTO images ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"),
        params![
            image.id,
            image.name,
            image.source,
            image.size_bytes,
            image.sha256,
            image.created_at_unix_ms,
            details_json(&image.details)?
        ],
    )?;
    Ok(())
}

fn details_json(details: &ImageDetails) -> rusqlite::Result<String> {
    serde_json::to_string(details).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}
