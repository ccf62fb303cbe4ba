//! Images out of archives: what `docker save`, `podman save`, `skopeo copy` and builders write.

use std::path::Path;

use banger_api::operation::Stage;
use banger_host::archive_files::{ArchiveFileError, ArchiveFiles};
use banger_host::ext4::ImageSize;
use banger_registry::{ArchiveError, ArchivedImage, ArchivedLayer, find_archived};

use super::layers::{PackedLayer, config, unpack};
use super::publish::Finished;
use super::rootfs::{make_of_layers, separate_work_errors};
use super::{ImageService, ImportError};
use crate::artifact::{ArtifactStore, Work, build_dir, in_staging, remove_build_dir};
use crate::operation::Reporter;
use crate::store::ImageDetails;

/// Which image of an archive, and what to make of it.
#[derive(Clone, Debug)]
pub(super) struct ImageChoice {
    /// What it is called here.
    pub(super) name: String,
    /// What it is called there.
    pub(super) tag: Option<String>,
    pub(super) size: ImageSize,
}

impl ImageService {
    /// Makes a filesystem of an image in a directory.
    pub(super) async fn convert_directory(
        &self,
        path: &Path,
        files: ArchiveFiles,
        choice: ImageChoice,
        reporter: &Reporter,
    ) -> Result<Finished, ImportError> {
        let staging = self.artifacts.staging()?;
        reporter.stage(Stage::Image, format!("reading {}", path.display()));
        let artifacts = self.artifacts.clone();
        let made = in_staging(staging, reporter, move |work| {
            let build_dir = build_dir(work.dir)?;
            separate_work_errors(make_of_archive(&files, &choice, &artifacts, &build_dir, work))
        });
        let (staging, made) = made.await?;
        let (size_bytes, sha256, details) = made?;
        remove_build_dir(staging.path()).await?;
        Ok(Finished { staging, source: path.display().to_string(), size_bytes, sha256, details })
    }
}

/// Makes the image's file; answers its size in bytes, what identifies it, and what its maker says of it.
pub(super) fn make_of_archive(
    files: &ArchiveFiles,
    choice: &ImageChoice,
    artifacts: &ArtifactStore,
    build_dir: &Path,
    work: &Work<'_>,
) -> Result<(u64, String, ImageDetails), ImportError> {
    let read = |name: &str, limit| files.read(name, limit).map_err(Into::into);
    let image = find_archived(&read, choice.tag.as_deref())?;
    let ArchivedImage { digest, reference, config: said, layers } = image;
    let layers: Vec<PackedLayer> =
        (1..).zip(layers).map(|(number, layer)| packed(files, number, layer)).collect::<Result<_, _>>()?;
    // They may be packed, and the filesystem comes beside what is unpacked.
    let packed_bytes = layers.iter().map(|layer| layer.size_bytes).fold(0, u64::saturating_add);
    artifacts.require_space(packed_bytes.saturating_mul(2) >> 20)?;
    work.stage(Stage::Image, format!("unpacking the layers of {}", choice.name));
    let tars = unpack(&layers, build_dir, work)?;
    work.stage(Stage::Image, format!("making the filesystem of {}", choice.name));
    let size_bytes = make_of_layers(&tars, choice.size, work)?;
    let details = ImageDetails { archived_as: reference, config: config(said), ..ImageDetails::default() };
    Ok((size_bytes, digest.hex(), details))
}

/// Where a layer lies.
fn packed(files: &ArchiveFiles, number: usize, layer: ArchivedLayer) -> Result<PackedLayer, ImportError> {
    let ArchivedLayer { file, digest, size_bytes, diff_id } = layer;
    let what = || match &digest {
        Some(digest) => format!("layer {number}, {digest},"),
        None => format!("layer {number}"),
    };
    let found = files.find(&file).map_err(|source| unreadable(what(), source))?;
    let found = found.ok_or_else(|| ArchiveError::Missing { what: what(), file: file.clone() })?;
    let size = found.content.size_bytes;
    if let Some(expected) = size_bytes.filter(|expected| *expected != size) {
        return Err(ArchiveError::WrongSize { what: what(), expected, found: size }.into());
    }
    Ok(PackedLayer { path: found.path, part: Some((file, found.content)), digest, size_bytes: size, diff_id })
}

fn unreadable(what: String, source: ArchiveFileError) -> ImportError {
    ArchiveError::File { what, source: source.into() }.into()
}
