//! Images from elsewhere: built from Debian's archive, or downloaded.

use banger_api::operation::Stage;
use banger_registry::{Reference, Security};

use super::oci::OciPull;
use super::publish::Finished;
use super::rootfs::{make, sha256_of};
use super::{ImageError, ImageService, name};
use crate::artifact::{ArtifactError, build_dir, fetch_tar, in_staging, remove_build_dir};
use crate::catalog::{BundleSource, Catalog, DebianSource, Entry, Kind, Source};
use crate::operation::Reporter;
use crate::spelling::nearest;
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

/// Where an image is to come from.
#[derive(Clone, Debug)]
enum Origin {
    Debian(Entry, DebianSource),
    Bundle(Entry, BundleSource),
    /// By this reference, under this name.
    Registry(Reference, String),
}

impl Origin {
    /// Where an image of that name would come from. It is none of those `here`.
    async fn of(
        name: &str,
        catalog: &Catalog,
        here: Vec<String>,
        reporter: &Reporter,
    ) -> Result<Self, ImageError> {
        let parse = |text: &str| -> Result<Reference, ImageError> {
            text.parse().map_err(|source| ImageError::Reference { name: name.into(), source })
        };
        let Some(entry) = catalog.find(Kind::Image, name, reporter).await else {
            refuse_slip(name, catalog, here, reporter).await?;
            let reference = parse(name)?;
            let name = reference.familiar();
            return Ok(Self::Registry(reference, name));
        };
        Ok(match entry.source.clone() {
            Source::Debian(source) => Self::Debian(entry, source),
            Source::Bundle(source) => Self::Bundle(entry, source),
            Source::Oci(source) => Self::Registry(parse(&source.reference)?, entry.name),
        })
    }

    /// What it is called here, unless somebody says otherwise.
    fn name(&self) -> &str {
        match self {
            Self::Debian(entry, _) | Self::Bundle(entry, _) => &entry.name,
            Self::Registry(_, name) => name,
        }
    }

    /// What a VM does that needs it.
    fn in_words(&self) -> String {
        match self {
            Self::Debian(entry, _) => format!("builds it ({})", entry.source),
            Self::Bundle(entry, _) => format!("downloads it ({})", entry.source),
            Self::Registry(reference, _) => format!("pulls it ({reference})"),
        }
    }

    /// Was this image got from here?
    fn is_of(&self, row: &ImageRow) -> bool {
        match self {
            Self::Debian(entry, _) | Self::Bundle(entry, _) => row.source == entry.source.to_string(),
            Self::Registry(reference, _) => row.details.reference.as_ref() == Some(&reference.to_string()),
        }
    }
}

/// A slip of the pen must not become a question to a registry where everybody may publish what he likes.
async fn refuse_slip(
    name: &str,
    catalog: &Catalog,
    here: Vec<String>,
    reporter: &Reporter,
) -> Result<(), ImageError> {
    if name.contains(['/', ':', '@', '.']) {
        return Ok(());
    }
    let mut known = here;
    known.extend(catalog.entries(Kind::Image, reporter).await.into_iter().map(|entry| entry.name));
    let Some(meant) = nearest(name, known.iter().map(String::as_str)) else { return Ok(()) };
    let hint = format!("did you mean {meant}? For the image in Docker's registry, say {name}:latest");
    Err(ImageError::Unknown { name: name.into(), hint })
}

/// What the first VM with an image that is not here would do, where none is. For people; asks nobody but the
/// catalogs.
///
/// # Errors
///
/// When there is no such image, as far as can be told.
pub(crate) async fn how_to_get(name: &str, catalog: &Catalog) -> Result<String, ImageError> {
    Ok(Origin::of(name, catalog, Vec::new(), &Reporter::unwatched()).await?.in_words())
}

/// What to do about an image that is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Present {
    /// It will do.
    Keep,
    /// Ask its registry for a newer one.
    Renew,
}

/// The name in its usual form: `alpine:latest` for `docker.io/library/alpine`. None when it is no reference.
pub(super) fn familiar(name: &str) -> Option<String> {
    Some(name.parse::<Reference>().ok()?.familiar())
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
            None => self.get(&PullRequest::of(name), Present::Keep, reporter).await,
        }
    }

    /// Gets an image onto this host. One of the catalog's that is here stays as it is; one of a registry's is
    /// replaced when the registry has a newer one.
    ///
    /// # Errors
    ///
    /// When it cannot be had; nothing of it is left then.
    pub async fn pull(&self, request: &PullRequest, reporter: &Reporter) -> Result<ImageRow, ImageError> {
        self.get(request, Present::Renew, reporter).await
    }

    /// Is that image here, or could it be? Asks nobody but the catalogs. Answers the kernel that it wants, as
    /// far as it is known.
    ///
    /// # Errors
    ///
    /// When it is not, as far as can be told.
    pub async fn known(&self, name: &str) -> Result<Option<String>, ImageError> {
        match self.find(name)? {
            Some(row) => Ok(row.details.kernel),
            None => self.origin(name, &Reporter::unwatched()).await.map(|_| None),
        }
    }

    /// What the first VM with an image that is not here, or not whole, would do. For people; asks nobody but
    /// the catalogs.
    ///
    /// # Errors
    ///
    /// When there is no such image, as far as can be told, or it was imported.
    pub(crate) async fn how_to_get(&self, name: &str) -> Result<String, ImageError> {
        let origin = self.origin(name, &Reporter::unwatched()).await;
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
        present: Present,
        reporter: &Reporter,
    ) -> Result<ImageRow, ImageError> {
        let origin = self.origin(&request.name, reporter).await;
        // The name of an image of the user's own is no question to a registry.
        if let (None, Some(row)) = (&request.save_as, self.other(&request.name, &origin)?) {
            if !self.is_whole(&row) {
                return Err(self.lost(&row)?);
            }
            reporter.notice(format!(
                "image {} is on this host already ({}); delete it first to pull another",
                row.name, row.source
            ));
            return Ok(row);
        }
        let origin = origin?;
        let name = request.save_as.as_deref().unwrap_or(origin.name());
        name::check(name).map_err(|source| ImageError::Name { name: name.into(), source })?;
        let _turn = self.flights.turn(name, reporter).await.map_err(|error| self.got(name, error))?;
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

    async fn origin(&self, name: &str, reporter: &Reporter) -> Result<Origin, ImageError> {
        Origin::of(name, &self.catalog, self.names(), reporter).await
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
                Some(self.get_bundle(entry, source, reporter).await?)
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
        self.archive.check(source)?;
        self.artifacts.require_space(entry.build_space_mib)?;
        let staging = self.artifacts.staging()?;
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
