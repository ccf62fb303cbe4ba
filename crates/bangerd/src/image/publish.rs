//! From a finished file in a staging directory to an image that has a name.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use banger_host::staging::StagingDir;

use super::recover::RECORD;
use super::service::FILE;
use super::{ImageError, ImageService};
use crate::artifact::{ArtifactError, ArtifactStore};
use crate::clock::unix_ms;
use crate::record;
use crate::store::{ImageDetails, ImageRow};

/// An image that only lacks its name. Its file is in the staging directory.
pub(super) struct Finished {
    pub(super) staging: StagingDir,
    /// Where it comes from, for people.
    pub(super) source: String,
    pub(super) size_bytes: u64,
    /// Of what it was made from, in hex.
    pub(super) sha256: String,
    pub(super) details: ImageDetails,
}

impl ImageService {
    /// Gives a finished image its name. An `old` image of that name makes way: it is removed, or lives on
    /// under another name for as long as VMs use it. Either all of that happens or nothing.
    ///
    /// # Errors
    ///
    /// When the name is taken by another one than `old`, or the files cannot be moved; nothing new is left
    /// then.
    pub(super) async fn publish(
        &self,
        name: &str,
        finished: Finished,
        old: Option<&ImageRow>,
    ) -> Result<ImageRow, ImageError> {
        let Finished { staging, source, size_bytes, sha256, details } = finished;
        let (id, created_at_unix_ms) = (ArtifactStore::new_id(), unix_ms());
        let row = ImageRow { id, name: name.into(), source, size_bytes, sha256, created_at_unix_ms, details };
        let recorded = record::write(&staging.path().join(RECORD), &row);
        recorded.map_err(|source| self.got(name, source.into()))?;
        self.artifacts.publish(staging, &row.id).await.map_err(|source| self.got(name, source))?;
        match self.record(&row, old) {
            Ok(removed) => {
                if let Some(old) = old.filter(|_| removed) {
                    self.remove_files(&old.id).await;
                }
                Ok(row)
            }
            Err(error) => {
                self.remove_files(&row.id).await;
                Err(error)
            }
        }
    }

    /// Writes the row; says whether the old one is gone.
    pub(super) fn record(&self, row: &ImageRow, old: Option<&ImageRow>) -> Result<bool, ImageError> {
        let written = match old {
            Some(old) => self.store.replace_image(row, &old.id, &aside(old)),
            None => self.store.insert_image(row).map(|()| false),
        };
        written.map_err(|error| match error {
            error if error.is_taken() => ImageError::NameTaken { name: row.name.clone() },
            error => error.into(),
        })
    }
}

/// The name under which an image lives on whose name another one got: `debian:bookworm@3f2a90c81b7e`.
pub(super) fn aside(old: &ImageRow) -> String {
    let (name, digest) = (&old.name, old.sha256.get(..12).unwrap_or(&old.sha256));
    // The id tells those apart that are made of the same thing.
    format!("{name}@{digest}-{}", old.id.get(..4).unwrap_or(&old.id))
}

/// VMs only read it, and so does everybody else.
pub(super) fn protect(image: &Path) -> Result<(), ArtifactError> {
    std::fs::set_permissions(image, Permissions::from_mode(0o444))
        .map_err(ArtifactError::io("set the mode of", image))
}

/// Where an image's file is while it is made.
pub(super) fn staged_file(staging: &Path) -> std::path::PathBuf {
    staging.join(FILE)
}
