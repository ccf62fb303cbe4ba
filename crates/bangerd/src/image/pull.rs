//! Images from elsewhere: built from Debian's archive, or downloaded.

use std::path::Path;

use banger_registry::Security;

use super::bundle::finish_bundle;
use super::oci::OciPull;
use super::origin::{Origin, image_ref};
use super::publish::Finished;
use super::rootfs::{make, sha256_of};
use super::{ImageError, ImageService};
use crate::artifact::{ArtifactError, BuildStages, Work, turn};
use crate::catalog::{DebianSource, Entry, Kind};
use crate::identity::{ImageRef, check_image_name};
use crate::operation::Reporter;
use crate::store::{ImageDetails, ImageRow};

/// What to pull.
#[derive(Clone, Debug, Default)]
pub struct PullRequest {
    /// A name of the catalog, else an OCI reference.
    pub image: ImageRef,
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
    pub fn of(image: ImageRef) -> Self {
        Self { image, ..Self::default() }
    }
}

/// An image that a VM is to have. Where it would come from is found out once, when it is asked for.
#[derive(Clone, Debug)]
pub(crate) struct WantedImage {
    image: ImageRef,
    /// None: it was on this host.
    origin: Option<Origin>,
    /// What there was to say when its origin was looked for: about catalogs that are not as they should be.
    notices: Vec<String>,
    /// The kernel of its VMs when nobody asks for another, as far as it is known.
    pub(crate) kernel: Option<String>,
}

impl WantedImage {
    /// What it was called by who wants it.
    pub(crate) fn image(&self) -> &ImageRef {
        &self.image
    }

    /// An image that is on this host.
    #[cfg(test)]
    pub(crate) fn here(name: &str, kernel: Option<&str>) -> Self {
        let image = ImageRef::parse(name).expect("tests call images as they may be called");
        Self { image, origin: None, notices: Vec::new(), kernel: kernel.map(Into::into) }
    }
}

/// What to do about an image that is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Present {
    /// It will do.
    Keep,
    /// Ask its registry for a newer one.
    Renew,
}

impl ImageService {
    /// Is that image here, or could it be? Asks nobody but the catalogs.
    ///
    /// # Errors
    ///
    /// When it is not, as far as can be told.
    pub(crate) async fn want(&self, name: &str) -> Result<WantedImage, ImageError> {
        let image = image_ref(name)?;
        if let Some(row) = self.find(name)? {
            return Ok(WantedImage { image, origin: None, notices: Vec::new(), kernel: row.details.kernel });
        }
        let reporter = Reporter::unwatched();
        let origin = Some(self.origin(&image, &reporter).await?);
        Ok(WantedImage { image, origin, notices: reporter.notices(), kernel: None })
    }

    /// The image that is wanted: at once when it is on this host, else it is pulled.
    ///
    /// # Errors
    ///
    /// When it is not here and cannot be pulled either.
    pub(crate) async fn ensure(
        &self,
        wanted: WantedImage,
        reporter: &Reporter,
    ) -> Result<ImageRow, ImageError> {
        let WantedImage { image, origin, notices, .. } = wanted;
        notices.into_iter().for_each(|notice| reporter.notice(notice));
        if let Some(row) = self.local(image.as_str())? {
            return Ok(row);
        }
        let origin = match origin {
            Some(origin) => Ok(origin),
            // It was here when it was asked for.
            None => self.origin(&image, reporter).await,
        };
        self.get(&PullRequest::of(image), origin, Present::Keep, reporter).await
    }

    /// Gets an image onto this host. One of the catalog's that is here stays as it is; one of a registry's is
    /// replaced when the registry has a newer one.
    ///
    /// # Errors
    ///
    /// When it cannot be had; nothing of it is left then.
    pub async fn pull(&self, request: &PullRequest, reporter: &Reporter) -> Result<ImageRow, ImageError> {
        let origin = self.origin(&request.image, reporter).await;
        self.get(request, origin, Present::Renew, reporter).await
    }

    /// What the first VM with an image that is not here, or not whole, would do. For people; asks nobody but
    /// the catalogs.
    ///
    /// # Errors
    ///
    /// When there is no such image, as far as can be told, or it was imported.
    pub(crate) async fn how_to_get(&self, name: &str) -> Result<String, ImageError> {
        let origin = self.origin(&image_ref(name)?, &Reporter::unwatched()).await;
        match self.other(name, &origin)? {
            Some(row) => Err(self.lost(&row)?),
            None => Ok(origin?.in_words()),
        }
    }

    /// What has that name here and is not from there.
    fn other(&self, name: &str, origin: &Result<Origin, ImageError>) -> Result<Option<ImageRow>, ImageError> {
        Ok(self.find(name)?.filter(|row| !origin.as_ref().is_ok_and(|origin| origin.is_of(row))))
    }

    /// Makes an image, or waits for somebody else who does.
    async fn get(
        &self,
        request: &PullRequest,
        origin: Result<Origin, ImageError>,
        present: Present,
        reporter: &Reporter,
    ) -> Result<ImageRow, ImageError> {
        // The name of an image of the user's own is no question to a registry.
        if let (None, Some(row)) = (&request.save_as, self.other(request.image.as_str(), &origin)?) {
            return self.keep(row, reporter);
        }
        let origin = origin?;
        let name = request.save_as.as_deref().unwrap_or(origin.name());
        check_image_name(name).map_err(|source| ImageError::Name { name: name.into(), source })?;
        let _turn = turn(&self.flights, name, reporter).await.map_err(|error| self.got(name, error))?;
        let old = self.store.image(name)?;
        if let Some(row) = &old {
            match self.may_replace(row, &origin, request)? {
                true if present == Present::Keep && self.is_whole(row) => return Ok(row.clone()),
                true => {}
                false => {
                    if present == Present::Renew {
                        reporter.notice(format!(
                            "image {name} is on this host already; delete it first to build it anew"
                        ));
                    }
                    return Ok(row.clone());
                }
            }
        }
        let made = self.make(&origin, request, old.as_ref(), reporter).await;
        if made.is_err() {
            self.artifacts.sweep().await;
        }
        match (made.map_err(|error| self.got(name, error))?, old) {
            (Some(finished), old) => self.publish(name, finished, old.as_ref()).await,
            (None, Some(row)) => {
                reporter.notice(format!("image {name} is what the registry has"));
                Ok(row)
            }
            (None, None) => Err(self.unknown(name).await),
        }
    }

    /// Leaves an image of the user's own where it is.
    fn keep(&self, row: ImageRow, reporter: &Reporter) -> Result<ImageRow, ImageError> {
        if !self.is_whole(&row) {
            return Err(self.lost(&row)?);
        }
        let (name, source) = (&row.name, &row.source);
        reporter.notice(format!(
            "image {name} is on this host already ({source}); delete it first to pull another"
        ));
        Ok(row)
    }

    /// Whether a new image may take the place of one that is here; if not, that one will do.
    ///
    /// # Errors
    ///
    /// When it will not do either: it is another image, or damaged and in use.
    fn may_replace(
        &self,
        row: &ImageRow,
        origin: &Origin,
        request: &PullRequest,
    ) -> Result<bool, ImageError> {
        if !self.is_whole(row) {
            // A new one has other blocks than those that the disks of its VMs build upon.
            let used = !self.store.image_users(&row.id)?.is_empty();
            return if used { Err(self.lost(row)?) } else { Ok(true) };
        }
        if !origin.is_of(row) && request.save_as.is_some() {
            return Err(ImageError::NameTaken { name: row.name.clone() });
        }
        Ok(origin.is_of(row) && matches!(origin, Origin::Registry(..)))
    }

    async fn origin(&self, image: &ImageRef, reporter: &Reporter) -> Result<Origin, ImageError> {
        Origin::of(image, &self.catalog, self.names(), reporter).await
    }

    /// Makes the image's file; none when `old` is what the registry has.
    async fn make(
        &self,
        origin: &Origin,
        request: &PullRequest,
        old: Option<&ImageRow>,
        reporter: &Reporter,
    ) -> Result<Option<Finished>, ArtifactError> {
        let finished = match origin {
            Origin::Debian(entry, source) => Some(self.build_debian(entry, source, request, reporter).await?),
            Origin::Bundle(entry, source) => {
                if request.size_mib.is_some() {
                    reporter.notice("the filesystem of a bundle has a size already: it keeps that");
                }
                let what = (Kind::Image, entry, source);
                let got = self.artifacts.get_bundle(&self.fetcher, what, reporter).await?;
                Some(finish_bundle(got, entry.source.to_string())?)
            }
            Origin::Registry(reference, _) => {
                let security = if request.insecure { Security::Insecure } else { Security::Verified };
                let size = self.size_of(request.size_mib);
                // Another size asks for a new filesystem of the same content.
                let known = old.filter(|row| self.is_whole(row) && request.size_mib.is_none());
                self.pull_oci(&OciPull { reference, security, size, known }, reporter).await?
            }
        };
        Ok(finished.map(|mut finished| {
            finished.details.kernel = request.kernel.clone();
            finished
        }))
    }

    /// Makes the files of an image of Debian's.
    async fn build_debian(
        &self,
        entry: &Entry,
        source: &DebianSource,
        request: &PullRequest,
        reporter: &Reporter,
    ) -> Result<Finished, ArtifactError> {
        let stages = BuildStages { fetch: "building", make: "making the filesystem of" };
        let size = self.size_of(request.size_mib);
        let make = move |tar: &Path, work: &Work<'_>| {
            let sha256 = sha256_of(tar)?;
            Ok((make(tar, size, work)?, sha256))
        };
        let what = (Kind::Image, entry, source);
        let built = self.artifacts.build_debian(self.archive.as_ref(), what, stages, make, reporter);
        let (staging, (size_bytes, sha256)) = built.await?;
        let details = ImageDetails::default();
        Ok(Finished { staging, source: entry.source.to_string(), size_bytes, sha256, details })
    }
}
