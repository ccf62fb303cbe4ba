//! Images versus the store, when the daemon starts: what is half made goes, what the store has forgotten
//! comes back.

use std::collections::HashSet;
use std::path::PathBuf;

use super::publish::aside;
use super::{ImageError, ImageService};
use crate::causes::chain;
use crate::lost_found::LostKind;
use crate::record;
use crate::store::ImageRow;

/// What an image is, beside its file.
pub(crate) const RECORD: &str = "image.json";

impl ImageService {
    /// Removes what a former daemon left half-made and answers what that was; makes images known again that
    /// the store does not know. Call it before anything else.
    ///
    /// # Errors
    ///
    /// When what is there cannot be listed, or the store not be read.
    pub async fn recover(&self) -> Result<Vec<PathBuf>, ImageError> {
        let removed = self.artifacts.sweep_stale().await.map_err(ImageError::Recover)?;
        for row in self.store.images()? {
            let name = row.name.clone();
            if let Err(error) = self.keep_record(row) {
                tracing::error!(image = name, causes = ?chain(&error), "its record is not kept");
            }
        }
        let rows = self.store.images()?;
        // Where an image is used in place, a directory of its own is a copy whose promotion was cut off.
        let managed = rows.iter().filter(|row| row.details.in_place.is_none());
        let known: HashSet<String> = managed.map(|row| row.id.clone()).collect();
        let adopt = |id: &str, row: ImageRow| self.adopt(id, row, &rows);
        let reclaimed = self.artifacts.reclaim(&known, (RECORD, LostKind::Image), &self.lost_found, adopt);
        reclaimed.map_err(ImageError::Recover)?;
        self.reclaim_in_place()?;
        Ok(removed)
    }

    /// Writes the record that an earlier build did not write, and repairs a row by it that cannot be read.
    fn keep_record(&self, row: ImageRow) -> Result<(), ImageError> {
        let path = match &row.details.in_place {
            Some(_) => self.in_place_record(&row.id),
            None => self.artifacts.dir(&row.id).join(RECORD),
        };
        if row.details.unreadable {
            let records = [path, self.in_place_record(&row.id)];
            let known = records.iter().find_map(|path| record::read::<ImageRow>(path).ok());
            if let Some(known) = known.filter(|known| known.id == row.id) {
                tracing::warn!(image = known.name, "its row was damaged; repaired from its record");
                match self.store.rewrite_image(&known) {
                    // Another one has its name by now.
                    Err(error) if error.is_taken() => {
                        self.store.rewrite_image(&ImageRow { name: aside(&known), ..known })?;
                    }
                    other => other?,
                }
            }
            return Ok(());
        }
        // Without its directory the image is lost, and shown as such.
        if !path.exists() && path.parent().is_some_and(std::path::Path::is_dir) {
            record::write(&path, &row).map_err(|source| ImageError::Recover(source.into()))?;
        }
        Ok(())
    }

    /// Writes the row of an image that only its record knows of.
    fn adopt(&self, id: &str, mut row: ImageRow, rows: &[ImageRow]) -> Result<(), String> {
        if row.id != id {
            return Err(format!("its record is of image {}", row.id));
        }
        if rows.iter().any(|other| other.id == id) {
            let updated = self.store.update_image(&row).map_err(|error| error.to_string())?;
            self.forget_in_place(id);
            return updated.then_some(()).ok_or_else(|| "the image was deleted".into());
        }
        if self.store.image(&row.name).map_err(|error| error.to_string())?.is_some() {
            row.name = aside(&row);
        }
        self.store.insert_image(&row).map_err(|error| error.to_string())
    }

    /// The user's own files are where they were; only that they were images was forgotten.
    fn reclaim_in_place(&self) -> Result<(), ImageError> {
        let known: HashSet<String> = self.store.images()?.into_iter().map(|row| row.id).collect();
        for path in self.artifacts.files_with("json").map_err(ImageError::Recover)? {
            let Ok(row) = record::read::<ImageRow>(&path) else { continue };
            if path != self.in_place_record(&row.id) || known.contains(&row.id) {
                continue;
            }
            match self.adopt(&row.id.clone(), row, &[]) {
                Ok(()) => tracing::warn!(path = %path.display(), "the store did not know of it; it does now"),
                Err(why) => tracing::warn!(path = %path.display(), why, "an image in place stays unknown"),
            }
        }
        Ok(())
    }

    /// The record of an image that has no directory of its own.
    pub(super) fn in_place_record(&self, id: &str) -> PathBuf {
        self.artifacts.dir(&format!("{id}.json"))
    }

    pub(super) fn forget_in_place(&self, id: &str) {
        let path = self.in_place_record(id);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(path = %path.display(), %error, "the record of an image stays");
            }
            _ => {}
        }
    }

    /// Removes all files of banger's own of an image whose row is gone.
    pub(super) async fn remove_files(&self, id: &str) {
        self.forget_in_place(id);
        self.artifacts.remove(id).await;
    }
}
