use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use banger_api::operation::Stage;
use banger_host::ext4::{Ext4Options, ImageSize, tar_to_ext4};
use banger_host::staging::remove_tree;

use super::service::FILE;
use super::{ImageError, ImageService};
use crate::artifact::{ArtifactError, Shelf, Work, fetch_tar, in_staging, sha256_file};
use crate::catalog::{Entry, Kind, Source};
use crate::clock::unix_ms;
use crate::identity::fill_random;
use crate::operation::Reporter;
use crate::store::{ImageDetails, ImageRow};

/// The part of the staging directory that is not published.
const BUILD_DIR: &str = "build";

/// A finished image file.
struct Made {
    size_bytes: u64,
    sha256: String,
}

impl ImageService {
    /// Builds an image of the catalog, or waits for somebody else who does.
    pub(super) async fn get(&self, name: &str, reporter: &Reporter) -> Result<ImageRow, ImageError> {
        let failed = |source| ImageError::Get { name: name.into(), source };
        let entry = self.catalog.find(Kind::Image, name, reporter).await;
        let _turn = match &entry {
            Some(_) => Some(self.flights.turn(name, reporter).await.map_err(failed)?),
            None => None,
        };
        if let Some(row) = self.local(name)? {
            return Ok(row);
        }
        let damaged = self.store.image(name)?;
        let Some(entry) = entry else {
            return Err(match damaged {
                Some(row) => self.lost(&row)?,
                None => self.unknown(name).await,
            });
        };
        if let Some(row) = damaged {
            self.forget(&row).await?;
        }
        let built = self.build(&entry, reporter).await;
        if built.is_err() {
            self.shelf.sweep().await;
        }
        let row = built.map_err(failed)?;
        if let Err(error) = self.store.insert_image(&row) {
            self.shelf.remove(&row.id).await;
            return Err(error.into());
        }
        Ok(row)
    }

    /// Drops what is known of an image whose file is gone. VMs that were made from it must go first: a new build has
    /// other blocks than the ones their disks build upon.
    async fn forget(&self, row: &ImageRow) -> Result<(), ImageError> {
        if !self.store.delete_unused_image(&row.id)? {
            return Err(self.lost(row)?);
        }
        self.shelf.remove(&row.id).await;
        Ok(())
    }

    /// Makes and publishes the files; the row is the caller's.
    async fn build(&self, entry: &Entry, reporter: &Reporter) -> Result<ImageRow, ArtifactError> {
        let Source::Debian(source) = &entry.source else {
            return Err(ArtifactError::Unsuitable {
                what: "an image",
                source_text: entry.source.to_string(),
            });
        };
        self.archive.check(source)?;
        self.shelf.require_space(entry.build_space_mib)?;
        let staging = self.shelf.staging()?;
        let build_dir = staging.path().join(BUILD_DIR);
        std::fs::create_dir(&build_dir).map_err(ArtifactError::io("create", &build_dir))?;

        reporter.stage(Stage::Image, format!("building {} from Debian's archive", entry.name));
        let tar = fetch_tar(self.archive.as_ref(), source, &build_dir, reporter).await?;

        reporter.stage(Stage::Image, format!("making the filesystem of {}", entry.name));
        let size = self.size;
        let (staging, made) = in_staging(staging, reporter, move |work| make(&tar, size, work)).await?;
        remove_tree(&build_dir).await?;

        let id = Shelf::new_id();
        let dest = self.shelf.dir(&id);
        tokio::task::spawn_blocking(move || staging.publish(&dest)).await??;
        Ok(ImageRow {
            id,
            name: entry.name.clone(),
            source: entry.source.to_string(),
            size_bytes: made.size_bytes,
            sha256: made.sha256,
            created_at_unix_ms: unix_ms(),
            details: ImageDetails::default(),
        })
    }
}

/// Turns the tar into the image file.
fn make(tar: &Path, size: ImageSize, work: &Work<'_>) -> Result<Made, ArtifactError> {
    let file = File::open(tar).map_err(ArtifactError::io("open", tar))?;
    let sha256 = sha256_file(file).map_err(ArtifactError::io("read", tar))?;
    let image = work.dir.join(FILE);
    let mut uuid = [0; 16];
    fill_random(&mut uuid);
    // Version 4, variant 1: random.
    uuid[6] = uuid[6] & 0x0f | 0x40;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    let options = Ext4Options { size, label: "banger-root".into(), uuid };
    let summary = tar_to_ext4(tar, &image, &options, &mut |done, total| work.progress(done, total))
        .map_err(ArtifactError::make("the filesystem"))?;
    for notice in &summary.notices {
        tracing::info!(notice, "while making the filesystem");
    }
    std::fs::set_permissions(&image, Permissions::from_mode(0o444))
        .map_err(ArtifactError::io("set the mode of", &image))?;
    Ok(Made { size_bytes: summary.image_bytes, sha256 })
}
