//! Tars that become the root filesystem of an image.

use std::fs::File;
use std::path::{Path, PathBuf};

use banger_api::operation::Stage;
use banger_host::archive_files::ArchiveFiles;
use banger_host::ext4::{
    Ext4Error, Ext4Options, Ext4Summary, ImageSize, Progress, layers_to_ext4, tar_to_ext4,
};
use banger_host::layer::{Compression, LayerBlob, unpack_layer};

use super::archive::{ImageChoice, make_of_archive};
use super::publish::{Finished, protect, staged_file};
use super::{ImageService, ImportError};
use crate::artifact::{ArtifactError, Work, build_dir, in_staging, remove_build_dir};
use crate::checksum::sha256_file;
use crate::identity::fill_random;
use crate::operation::Reporter;
use crate::store::ImageDetails;

/// A tarball of the user's.
#[derive(Clone, Debug)]
pub(super) struct Tarball {
    pub(super) path: PathBuf,
    pub(super) compression: Compression,
}

impl ImageService {
    /// Makes a filesystem of a tarball: of a root filesystem, or of a container image in it.
    pub(super) async fn convert(
        &self,
        tarball: Tarball,
        choice: ImageChoice,
        reporter: &Reporter,
    ) -> Result<Finished, ImportError> {
        let staging = self.artifacts.staging()?;
        reporter.stage(Stage::Image, format!("reading {}", tarball.path.display()));
        let source = tarball.path.display().to_string();
        let artifacts = self.artifacts.clone();
        let made = in_staging(staging, reporter, move |work| {
            let sha256 = sha256_of(&tarball.path)?;
            let build_dir = build_dir(work.dir)?;
            let tar = unpacked(tarball, &build_dir, work)?;
            let len = tar.metadata().map_err(ArtifactError::io("read", &tar))?.len();
            let images = ArchiveFiles::in_tar(&tar, || work.progress(0, len));
            let made = images.map_err(ImportError::from).and_then(|images| match images {
                Some(files) => make_of_archive(&files, &choice, &artifacts, &build_dir, work),
                None if choice.tag.is_some() => Err(ImportError::NothingToChoose),
                None => {
                    work.stage(Stage::Image, format!("making the filesystem of {}", choice.name));
                    Ok((make(&tar, choice.size, work)?, sha256, ImageDetails::default()))
                }
            });
            separate_work_errors(made)
        });
        let (staging, made) = made.await?;
        let (size_bytes, sha256, details) = made?;
        remove_build_dir(staging.path()).await?;
        Ok(Finished { staging, source, size_bytes, sha256, details })
    }

    /// How large a new filesystem becomes.
    pub(super) fn size_of(&self, size_mib: Option<u64>) -> ImageSize {
        size_mib.map_or(self.size, |mib| ImageSize::Fixed { bytes: mib << 20 })
    }
}

/// Puts apart what the work itself ran into, as its caller has it, and what is wrong with the user's file.
pub(super) fn separate_work_errors<T>(
    made: Result<T, ImportError>,
) -> Result<Result<T, ImportError>, ArtifactError> {
    match made {
        Err(ImportError::Artifact(error)) => Err(error),
        made => Ok(made),
    }
}

/// The plain tar in a tarball.
fn unpacked(tarball: Tarball, build_dir: &Path, work: &Work<'_>) -> Result<PathBuf, ArtifactError> {
    let Tarball { path, compression } = tarball;
    if compression == Compression::None {
        return Ok(path);
    }
    let spool = build_dir.join("unpacked.tar");
    let blob = LayerBlob { path: &path, part: None, digest: None, diff_id: None };
    Ok(unpack_layer(&blob, &spool, &mut |done, total| work.progress(done, total))?.path)
}

pub(super) fn sha256_of(path: &Path) -> Result<String, ArtifactError> {
    let file = File::open(path).map_err(ArtifactError::io("open", path))?;
    sha256_file(file).map_err(ArtifactError::io("read", path))
}

/// Turns a tar into the image's file; answers its size in bytes.
pub(super) fn make(tar: &Path, size: ImageSize, work: &Work<'_>) -> Result<u64, ArtifactError> {
    make_with(work, |image, progress| tar_to_ext4(tar, image, &options(size), progress))
}

/// Turns the tars of an OCI image's layers, lowest first, into the image's file; answers its size in bytes.
pub(super) fn make_of_layers(
    tars: &[PathBuf],
    size: ImageSize,
    work: &Work<'_>,
) -> Result<u64, ArtifactError> {
    make_with(work, |image, progress| layers_to_ext4(tars, image, &options(size), progress))
}

fn make_with(
    work: &Work<'_>,
    make: impl FnOnce(&Path, Progress<'_>) -> Result<Ext4Summary, Ext4Error>,
) -> Result<u64, ArtifactError> {
    let image = staged_file(work.dir);
    let summary = make(&image, &mut |done, total| work.progress(done, total))
        .map_err(ArtifactError::make("the filesystem"))?;
    for notice in &summary.notices {
        tracing::info!(notice, "while making the filesystem");
    }
    protect(&image)?;
    Ok(summary.image_bytes)
}

fn options(size: ImageSize) -> Ext4Options {
    let mut uuid = [0; 16];
    fill_random(&mut uuid);
    // Version 4, variant 1: random.
    uuid[6] = uuid[6] & 0x0f | 0x40;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    Ext4Options { size, label: "banger-root".into(), uuid }
}
