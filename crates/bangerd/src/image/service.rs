use std::path::PathBuf;
use std::sync::Arc;

use banger_api::image::{Image, ImageConfig};
use banger_host::ext4::ImageSize;
use banger_registry::{Flights, Reference};

use super::ImageError;
use super::import::is_as_imported;
use crate::artifact::bundle::Fetcher;
use crate::artifact::{Archive, ArtifactStore, DebianArchive};
use crate::catalog::{Catalog, Entry, Kind};
use crate::download::Downloads;
use crate::lost_found::LostFound;
use crate::operation::Reporter;
use crate::paths::Paths;
use crate::store::words::RunConfig;
use crate::store::{ImageRow, Store};

/// The image's file in its directory.
pub(super) const FILE: &str = "rootfs.ext4";

/// Room for what people install. It costs nothing: what is not used is a hole in the file.
const ROOT_MIN_BYTES: u64 = 8 << 30;

/// All that is done with images.
#[derive(Clone)]
pub struct ImageService {
    pub(super) store: Store,
    pub(super) artifacts: ArtifactStore,
    pub(super) flights: Flights<String>,
    pub(super) catalog: Catalog,
    pub(super) archive: Arc<dyn Archive>,
    pub(super) downloads: Downloads,
    pub(super) fetcher: Fetcher,
    pub(super) lost_found: LostFound,
    /// Of new root filesystems.
    pub(super) size: ImageSize,
}

impl ImageService {
    pub fn new(store: Store, paths: &Paths, catalog: Catalog) -> Self {
        Self::with_archive(store, paths, catalog, Arc::new(DebianArchive))
    }

    /// With another place to get images from.
    pub fn with_archive(store: Store, paths: &Paths, catalog: Catalog, archive: Arc<dyn Archive>) -> Self {
        let artifacts = ArtifactStore::new(paths.images());
        let size = ImageSize::Headroom { min_bytes: ROOT_MIN_BYTES };
        let (flights, downloads) = (Flights::default(), Downloads::new(&paths.cache));
        let fetcher = Fetcher::new(paths.downloads(), Arc::new(downloads.clone()));
        let lost_found = paths.lost_found();
        Self { store, artifacts, flights, catalog, archive, downloads, fetcher, lost_found, size }
    }

    /// The images on this host; with `available` those of the catalog that could be, as well.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub async fn list(&self, available: bool) -> Result<Vec<Image>, ImageError> {
        let rows = self.store.images()?;
        let mut images = rows.iter().map(|row| self.describe(row)).collect::<Result<Vec<_>, _>>()?;
        if available {
            let missing = |entry: &&Entry| !rows.iter().any(|row| row.name == entry.name);
            let entries = self.catalog.entries(Kind::Image, &Reporter::unwatched()).await;
            images.extend(entries.iter().filter(missing).map(describe_entry));
        }
        images.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(images)
    }

    /// One of them.
    ///
    /// # Errors
    ///
    /// When it is neither here nor in the catalog.
    pub async fn show(&self, name: &str) -> Result<Image, ImageError> {
        if let Some(row) = self.find(name)? {
            return self.describe(&row);
        }
        match self.catalog.find(Kind::Image, name, &Reporter::unwatched()).await {
            Some(entry) => Ok(describe_entry(&entry)),
            None => Err(self.unknown(name).await),
        }
    }

    /// Removes an image from this host.
    ///
    /// # Errors
    ///
    /// When it is not here, or a VM uses it.
    pub async fn delete(&self, name: &str) -> Result<(), ImageError> {
        let Some(row) = self.find(name)? else { return Err(self.not_here(name).await) };
        if self.store.delete_unused_image(&row.id)? {
            self.remove_files(&row.id).await;
            return Ok(());
        }
        let users = self.store.image_users(&row.id)?;
        // Somebody else may have deleted it just now.
        Err(if users.is_empty() {
            self.not_here(name).await
        } else {
            ImageError::InUse { name: name.into(), users }
        })
    }

    /// The image's file; see [`Self::usable_file`] for whether it is there.
    pub fn file(&self, row: &ImageRow) -> PathBuf {
        match &row.details.in_place {
            Some(in_place) => in_place.path.clone(),
            None => self.artifacts.dir(&row.id).join(FILE),
        }
    }

    /// The image's file, when it is there in its full size.
    ///
    /// # Errors
    ///
    /// When it is not.
    pub fn usable_file(&self, row: &ImageRow) -> Result<PathBuf, ImageError> {
        if self.is_whole(row) { Ok(self.file(row)) } else { Err(self.lost(row)?) }
    }

    /// What is known of the image of that name, whole or not. `alpine` is found as `alpine:latest` as well.
    pub(super) fn find(&self, name: &str) -> Result<Option<ImageRow>, ImageError> {
        match self.store.image(name)? {
            Some(row) => Ok(Some(row)),
            None => Ok(familiar(name).map(|name| self.store.image(&name)).transpose()?.flatten()),
        }
    }

    /// The image of that name, when it is on this host and whole.
    pub(super) fn local(&self, name: &str) -> Result<Option<ImageRow>, ImageError> {
        Ok(self.find(name)?.filter(|row| self.is_whole(row)))
    }

    pub(super) fn lost(&self, row: &ImageRow) -> Result<ImageError, ImageError> {
        let users = self.store.image_users(&row.id)?;
        Ok(ImageError::Lost { name: row.name.clone(), path: self.file(row), users })
    }

    pub(super) fn is_whole(&self, row: &ImageRow) -> bool {
        if row.details.unreadable {
            return false;
        }
        if let Some(in_place) = &row.details.in_place {
            return is_as_imported(in_place, row.size_bytes);
        }
        self.file(row).metadata().is_ok_and(|meta| meta.is_file() && meta.len() == row.size_bytes)
    }

    fn disk_used_bytes(&self, row: &ImageRow) -> u64 {
        match &row.details.in_place {
            Some(in_place) => banger_host::files::allocated_bytes(&in_place.path).unwrap_or(0),
            None => self.artifacts.disk_used_bytes(&row.id),
        }
    }

    fn describe(&self, row: &ImageRow) -> Result<Image, ImageError> {
        Ok(Image {
            name: row.name.clone(),
            local: self.is_whole(row),
            source: row.source.clone(),
            size_bytes: Some(row.size_bytes),
            disk_used_bytes: Some(self.disk_used_bytes(row)),
            sha256: Some(row.sha256.clone()).filter(|sha256| !sha256.is_empty()),
            created_at_unix_ms: Some(row.created_at_unix_ms),
            used_by: self.store.image_users(&row.id)?,
            reference: row.details.reference.clone().or_else(|| row.details.archived_as.clone()),
            kernel: row.details.kernel.clone(),
            in_place: row.details.in_place.as_ref().map(|file| file.path.display().to_string()),
            config: run_config(&row.details.config),
        })
    }

    pub(super) async fn unknown(&self, name: &str) -> ImageError {
        let hint = self.catalog.hint(Kind::Image, name, self.names()).await;
        ImageError::Unknown { name: name.into(), hint }
    }

    pub(super) async fn not_here(&self, name: &str) -> ImageError {
        let hint = self.catalog.hint_here(Kind::Image, name, self.names()).await;
        ImageError::Unknown { name: name.into(), hint }
    }

    /// What is on this host, for hints: none are better than another error.
    pub(super) fn names(&self) -> Vec<String> {
        // See above.
        self.store.images().unwrap_or_default().into_iter().map(|row| row.name).collect()
    }
}

/// The name in its usual form: `alpine:latest` for `docker.io/library/alpine`. None when it is no reference.
fn familiar(name: &str) -> Option<String> {
    Some(name.parse::<Reference>().ok()?.familiar())
}

fn run_config(config: &RunConfig) -> ImageConfig {
    let RunConfig { env, working_dir, user, entrypoint, cmd, exposed_ports } = config.clone();
    ImageConfig { env, working_dir, user, entrypoint, cmd, exposed_ports }
}

fn describe_entry(entry: &Entry) -> Image {
    Image {
        name: entry.name.clone(),
        local: false,
        source: entry.source.to_string(),
        size_bytes: None,
        disk_used_bytes: None,
        sha256: None,
        created_at_unix_ms: None,
        used_by: Vec::new(),
        reference: None,
        kernel: None,
        in_place: None,
        config: ImageConfig::default(),
    }
}
