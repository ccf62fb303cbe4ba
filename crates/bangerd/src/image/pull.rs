//! Images from elsewhere: built from Debian's archive, or downloaded.

use banger_api::operation::Stage;

use super::publish::Finished;
use super::rootfs::{build_dir, make, remove_build_dir, sha256_of};
use super::{ImageError, ImageService};
use crate::artifact::{ArtifactError, fetch_tar, in_staging};
use crate::catalog::{DebianSource, Entry, Kind, Source};
use crate::operation::Reporter;
use crate::store::{ImageDetails, ImageRow};

/// What to pull.
#[derive(Clone, Debug, Default)]
pub struct PullRequest {
    /// A name of the catalog, else an OCI reference.
    pub name: String,
    /// What to call it here.
    pub save_as: Option<String>,
    /// Of its filesystem, in MiB.
    pub size_mib: Option<u64>,
    /// The kernel of its VMs when nobody asks for another.
    pub kernel: Option<String>,
    /// Do without TLS, or without knowing whom it is with.
    pub insecure: bool,
}

impl PullRequest {
    /// That image, as it comes.
    pub fn of(name: &str) -> Self {
        Self { name: name.into(), ..Self::default() }
    }
}

/// The name in its usual form: `alpine:latest` for `docker.io/library/alpine`. None when it is no reference, or is so already.
pub(super) fn familiar(_name: &str) -> Option<String> {
    None
}

impl ImageService {
    /// The image of that name: at once when it is on this host, else it is pulled.
    ///
    /// # Errors
    ///
    /// When it is not here and cannot be pulled either.
    pub async fn ensure(&self, name: &str, reporter: &Reporter) -> Result<ImageRow, ImageError> {
        match self.local(name)? {
            Some(row) => Ok(row),
            None => self.get(&PullRequest::of(name), reporter).await,
        }
    }

    /// Gets an image onto this host. One of the catalog that is here stays as it is.
    ///
    /// # Errors
    ///
    /// When it cannot be had; nothing of it is left then.
    pub async fn pull(&self, request: &PullRequest, reporter: &Reporter) -> Result<ImageRow, ImageError> {
        let name = request.save_as.as_ref().unwrap_or(&request.name);
        match self.local(name)? {
            Some(row) => {
                reporter.notice(format!(
                    "image {name} is on this host already; delete it first to build it anew"
                ));
                Ok(row)
            }
            None => self.get(request, reporter).await,
        }
    }

    /// Makes an image, or waits for somebody else who does.
    async fn get(&self, request: &PullRequest, reporter: &Reporter) -> Result<ImageRow, ImageError> {
        let entry = self.catalog.find(Kind::Image, &request.name, reporter).await;
        let name = request.save_as.as_ref().unwrap_or(&request.name);
        let _turn = match &entry {
            Some(_) => Some(self.flights.turn(name, reporter).await.map_err(|error| self.got(name, error))?),
            None => None,
        };
        if let Some(row) = self.local(name)? {
            reporter
                .notice(format!("image {name} is on this host already; delete it first to build it anew"));
            return Ok(row);
        }
        let damaged = self.store.image(name)?;
        let Some(entry) = entry else {
            return Err(match damaged {
                Some(row) => self.lost(&row)?,
                None => self.unknown(name).await,
            });
        };
        // A new build has other blocks than those that the disks of its VMs build upon.
        if let Some(row) = &damaged
            && !self.store.image_users(&row.id)?.is_empty()
        {
            return Err(self.lost(row)?);
        }
        let built = self.build(&entry, request, reporter).await;
        if built.is_err() {
            self.shelf.sweep().await;
        }
        let finished = built.map_err(|error| self.got(name, error))?;
        self.publish(name, finished, damaged.as_ref()).await
    }

    async fn build(
        &self,
        entry: &Entry,
        request: &PullRequest,
        reporter: &Reporter,
    ) -> Result<Finished, ArtifactError> {
        let mut finished = match &entry.source {
            Source::Debian(source) => self.build_debian(entry, source, request, reporter).await?,
            source => {
                return Err(ArtifactError::Unsuitable { what: "an image", source_text: source.to_string() });
            }
        };
        finished.details.kernel = request.kernel.clone();
        Ok(finished)
    }

    /// Makes the files of an image of Debian's.
    async fn build_debian(
        &self,
        entry: &Entry,
        source: &DebianSource,
        request: &PullRequest,
        reporter: &Reporter,
    ) -> Result<Finished, ArtifactError> {
        self.archive.check(source)?;
        self.shelf.require_space(entry.build_space_mib)?;
        let staging = self.shelf.staging()?;
        let build_dir = build_dir(staging.path())?;

        reporter.stage(Stage::Image, format!("building {} from Debian's archive", entry.name));
        let tar = fetch_tar(self.archive.as_ref(), source, &build_dir, reporter).await?;

        reporter.stage(Stage::Image, format!("making the filesystem of {}", entry.name));
        let size = self.size_of(request.size_mib);
        let made = in_staging(staging, reporter, move |work| {
            let sha256 = sha256_of(&tar)?;
            Ok((make(&tar, size, work)?, sha256))
        });
        let (staging, (size_bytes, sha256)) = made.await?;
        remove_build_dir(staging.path()).await?;
        let details = ImageDetails::default();
        Ok(Finished { staging, source: entry.source.to_string(), size_bytes, sha256, details })
    }
}
