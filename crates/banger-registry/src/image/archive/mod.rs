//! Images in files: what `docker save`, `podman save`, `skopeo copy` and builders write, in a tar file or a
//! directory.
//!
//! | form | told by | layers |
//! |---|---|---|
//! | OCI layout (also what Docker saves since version 25) | `index.json` | `blobs/sha256/HEX` |
//! | Docker's | `manifest.json`, a list | wherever it says |
//! | skopeo's `dir:` | `manifest.json`, a manifest | `HEX` |
//!
//! Where a file lies and how it is read is the caller's business; what is read is checked here against the
//! digests that name it. Layers are left to the caller, with all that they have to be.

mod docker;
mod oci;
mod tags;
#[cfg(test)]
mod tests;

use std::error::Error;

use super::search::{MAX_DOCUMENT_BYTES, NotFound};
use super::{ImageConfig, ImageError, printable};
use crate::digest::Digest;

/// Reads a file of the archive that must not be longer than so many bytes. None: it is not there.
pub type ReadFile<'a> = &'a dyn Fn(&str, u64) -> Result<Option<Vec<u8>>, Box<dyn Error + Send + Sync>>;

/// An image for linux/amd64 in an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchivedImage {
    /// What identifies it: the digest of its manifest, or of its configuration where it has none.
    pub digest: Digest,
    /// The reference that the archive has it under, in full.
    pub reference: Option<String>,
    pub config: ImageConfig,
    /// Lowest layer first.
    pub layers: Vec<ArchivedLayer>,
}

/// One layer of it. Whoever unpacks it must check all that is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchivedLayer {
    /// Its file in the archive, as the archive names it.
    pub file: String,
    /// Digest of that file.
    pub digest: Option<Digest>,
    pub size_bytes: Option<u64>,
    /// Digest of the tar once unpacked.
    pub diff_id: Digest,
}

/// Why no image can be had of an archive. The text goes on where the archive was named.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    #[error("it holds several images: {}", images.join(", "))]
    Several { images: Vec<String> },
    #[error("none of its images is called `{tag}`; it holds {}", images.join(", "))]
    NoSuchTag { tag: String, images: Vec<String> },
    #[error("it is an archive of container images, and there is no image in it")]
    Empty,
    #[error("it is an archive of container images that has lost its {0}")]
    Incomplete(&'static str),
    #[error("it is an archive of container images in the format of before 2016, without a manifest")]
    Outdated,
    #[error("it is an archive of container images, and {what} is not in it (`{file}`)")]
    Missing { what: String, file: String },
    #[error("{what} must have the digest {expected}, and has {found}")]
    WrongDigest { what: String, expected: Digest, found: Digest },
    #[error("{what} must have {expected} bytes, and has {found}")]
    WrongSize { what: String, expected: u64, found: u64 },
    #[error("its image is not made for linux/amd64; it is for {}", offered.join(", "))]
    WrongPlatform { offered: Vec<String> },
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error("{what} cannot be read")]
    File { what: String, source: Box<dyn Error + Send + Sync> },
}

impl From<NotFound> for ArchiveError {
    fn from(not_found: NotFound) -> Self {
        match not_found {
            NotFound::WrongPlatform(offered) => Self::WrongPlatform { offered },
            NotFound::Unusable(error) => Self::Image(error),
        }
    }
}

/// Finds the image for linux/amd64 in an archive: the only one, or the one that is called `tag` (a reference,
/// a tag, or a digest).
///
/// # Errors
///
/// When there is none or are several, when something is not there or is not what its digest says, or when it
/// is no image that can be used.
pub fn find_archived(read: ReadFile<'_>, tag: Option<&str>) -> Result<ArchivedImage, ArchiveError> {
    let files = Files(read);
    let saved = || files.read("manifest.json", "its manifest.json");
    match files.read("index.json", "its index.json")? {
        Some(index) => match oci::find(&files, &index, tag) {
            // Some builders leave the one empty and fill the other.
            Err(error @ ArchiveError::Empty) => match saved()? {
                Some(manifest) => docker::find(&files, &manifest, tag),
                None => Err(error),
            },
            found => found,
        },
        None => match saved()? {
            Some(manifest) if docker::is_list(&manifest) => docker::find(&files, &manifest, tag),
            Some(manifest) => oci::find_flat(&files, manifest, tag),
            None if files.read("oci-layout", "its oci-layout")?.is_some() => {
                Err(ArchiveError::Incomplete("index.json"))
            }
            None if files.read("repositories", "its list of repositories")?.is_some() => {
                Err(ArchiveError::Outdated)
            }
            None => Err(ArchiveError::Incomplete("index.json or manifest.json")),
        },
    }
}

/// Small files of an archive.
struct Files<'a>(ReadFile<'a>);

impl Files<'_> {
    fn read(&self, file: &str, what: &str) -> Result<Option<Vec<u8>>, ArchiveError> {
        (self.0)(file, MAX_DOCUMENT_BYTES)
            .map_err(|source| ArchiveError::File { what: what.to_owned(), source })
    }

    /// A file whose bytes must have this digest.
    fn checked(&self, file: &str, what: String, expected: Digest) -> Result<Vec<u8>, ArchiveError> {
        let bytes = self.required(file, what.clone())?;
        let found = Digest::of(&bytes);
        if found == expected { Ok(bytes) } else { Err(ArchiveError::WrongDigest { what, expected, found }) }
    }

    fn required(&self, file: &str, what: String) -> Result<Vec<u8>, ArchiveError> {
        let read = self.read(file, &what)?;
        read.ok_or_else(|| ArchiveError::Missing { what, file: printable(file, 200) })
    }
}
