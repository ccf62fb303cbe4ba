//! Where an image comes from: Debian's archive, a bundle, a registry.

use banger_registry::Reference;

use super::ImageError;
use crate::catalog::{BundleSource, Catalog, DebianSource, Entry, Kind, Source};
use crate::identity::ImageRef;
use crate::operation::Reporter;
use crate::spelling::nearest;
use crate::store::ImageRow;

/// Where an image is to come from.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    Debian(Entry, DebianSource),
    Bundle(Entry, BundleSource),
    /// By this reference, under this name.
    Registry(Reference, String),
}

impl Origin {
    /// Where an image that is called so would come from. It is none of those `here`.
    pub(super) async fn of(
        wanted: &ImageRef,
        catalog: &Catalog,
        here: Vec<String>,
        reporter: &Reporter,
    ) -> Result<Self, ImageError> {
        let name = wanted.as_str();
        let no_reference = |source| ImageError::Reference { name: name.into(), source };
        let Some(entry) = catalog.find(Kind::Image, name, reporter).await else {
            refuse_slip(wanted, catalog, here, reporter).await?;
            let reference = wanted.in_registry().map_err(no_reference)?;
            let name = reference.familiar();
            return Ok(Self::Registry(reference, name));
        };
        Ok(match entry.source.clone() {
            Source::Debian(source) => Self::Debian(entry, source),
            Source::Bundle(source) => Self::Bundle(entry, source),
            Source::Oci(source) => {
                Self::Registry(source.reference.parse().map_err(no_reference)?, entry.name)
            }
        })
    }

    /// What it is called here, unless somebody says otherwise.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Debian(entry, _) | Self::Bundle(entry, _) => &entry.name,
            Self::Registry(_, name) => name,
        }
    }

    /// What a VM does that needs it.
    pub(super) fn in_words(&self) -> String {
        match self {
            Self::Debian(entry, _) => format!("builds it ({})", entry.source),
            Self::Bundle(entry, _) => format!("downloads it ({})", entry.source),
            Self::Registry(reference, _) => format!("pulls it ({reference})"),
        }
    }

    /// Was this image got from here?
    pub(super) fn is_of(&self, row: &ImageRow) -> bool {
        match self {
            Self::Debian(entry, _) | Self::Bundle(entry, _) => row.source == entry.source.to_string(),
            Self::Registry(reference, _) => row.details.reference.as_ref() == Some(&reference.to_string()),
        }
    }
}

/// A slip of the pen must not become a question to a registry where everybody may publish what he likes.
async fn refuse_slip(
    wanted: &ImageRef,
    catalog: &Catalog,
    here: Vec<String>,
    reporter: &Reporter,
) -> Result<(), ImageError> {
    if !wanted.is_one_word() {
        return Ok(());
    }
    let name = wanted.as_str();
    let mut known = here;
    known.extend(catalog.entries(Kind::Image, reporter).await.into_iter().map(|entry| entry.name));
    let Some(meant) = nearest(name, known.iter().map(String::as_str)) else { return Ok(()) };
    let mut hint = format!("did you mean {meant}?");
    if wanted.in_registry().is_ok() {
        hint.push_str(&format!(" For the image in Docker's registry, say {name}:latest"));
    }
    Err(ImageError::Unknown { name: name.into(), hint })
}

/// What the first VM with an image that is not here would do, where none is. For people; asks nobody but the
/// catalogs.
///
/// # Errors
///
/// When there is no such image, as far as can be told.
pub(crate) async fn how_to_get(name: &str, catalog: &Catalog) -> Result<String, ImageError> {
    let wanted = image_ref(name)?;
    Ok(Origin::of(&wanted, catalog, Vec::new(), &Reporter::unwatched()).await?.in_words())
}

/// What somebody has written, if an image can be called so.
///
/// # Errors
///
/// When none can, here or in a registry.
pub(crate) fn image_ref(text: &str) -> Result<ImageRef, ImageError> {
    ImageRef::parse(text).map_err(|source| ImageError::Reference { name: text.into(), source })
}
