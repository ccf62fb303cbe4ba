//! Images in one file: made for other hosts, and got from them.

use std::fs::File;
use std::path::Path;

use banger_api::bundle::Bundle;
use banger_api::operation::Stage;
use banger_host::image_format::{ImageFormat, recognise};

use super::publish::{Finished, staged_file};
use super::{ImageError, ImageService};
use crate::artifact::bundle::{self, Details, Got};
use crate::artifact::{ArtifactError, BundleError};
use crate::catalog::Kind;
use crate::operation::Reporter;
use crate::store::ImageDetails;

impl ImageService {
    /// Writes a bundle of an image of this host's to the file `output`. An existing one is replaced when
    /// `replace` is set.
    ///
    /// # Errors
    ///
    /// When the image is not here or not whole, or the file cannot be written. Nothing is left of it then.
    pub async fn bundle(
        &self,
        name: &str,
        output: &Path,
        replace: bool,
        reporter: &Reporter,
    ) -> Result<Bundle, ImageError> {
        let Some(row) = self.find(name)? else { return Err(self.not_here(name).await) };
        let file = self.usable_file(&row)?;
        reporter.stage(Stage::Image, format!("writing {}", output.display()));
        let details = Details::Image { config: row.details.config.clone() };
        let written = bundle::export(&row.name, details, vec![file], (output, replace), reporter);
        written.await.map_err(|source| ImageError::Bundle { name: name.into(), source })
    }

    /// Unpacks a bundle of the user's.
    pub(super) async fn unpack_bundle(
        &self,
        path: &Path,
        reporter: &Reporter,
    ) -> Result<Finished, ArtifactError> {
        let staging = self.artifacts.staging()?;
        reporter.stage(Stage::Image, format!("unpacking {}", path.display()));
        let got = bundle::unpack_file(path, Kind::Image, None, staging, reporter).await?;
        finish_bundle(got, path.display().to_string())
    }
}

/// Looks at what a bundle held.
pub(super) fn finish_bundle(got: Got, source: String) -> Result<Finished, ArtifactError> {
    let Got { staging, unpacked } = got;
    let path = staged_file(staging.path());
    let file = File::open(&path).map_err(ArtifactError::io("open", &path))?;
    let len = file.metadata().map_err(ArtifactError::io("read", &path))?.len();
    let is_whole = |format| matches!(format, ImageFormat::Ext4 { size_bytes } if size_bytes <= len);
    let (Details::Image { config }, true) =
        (unpacked.manifest.details(), recognise(&file).is_ok_and(is_whole))
    else {
        return Err(BundleError::NoBundle("its rootfs.ext4 is no ext4 filesystem").into());
    };
    let details = ImageDetails { config, ..ImageDetails::default() };
    Ok(Finished { staging, source, size_bytes: len, sha256: unpacked.sha256, details })
}
