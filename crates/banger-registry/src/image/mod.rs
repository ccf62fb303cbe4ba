//! What a registry or an archive says about an image: manifests, the choice among them, and the
//! configuration.
//!
//! All of it is foreign: `wire` is the JSON as others write it, the rest is what is left of it after the
//! checks. Nothing here does I/O: [`search`] says what is to be read next, [`archive`] is handed a function
//! that reads.

pub(crate) mod archive;
pub(crate) mod config;
pub(crate) mod index;
pub(crate) mod manifest;
pub(crate) mod search;
mod wire;

use crate::auth::KeychainError;
use crate::digest::{Digest, DigestError};
use crate::printable::printable;
use crate::reference::Reference;
use crate::transport::Endpoint;

pub use config::{ExposedPort, ImageConfig, Protocol};
pub(crate) use wire::{ACCEPTED_MANIFESTS, Descriptor, bare};

/// One layer of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Digest of the packed bytes: the name of its blob.
    pub digest: Digest,
    /// Size of the packed bytes.
    pub size_bytes: u64,
    /// Digest of the tar once unpacked; whoever unpacks it must check it.
    pub diff_id: Digest,
    /// The manifest says that it is not to be had from the registry but from its vendor. Many registries have
    /// it all the same.
    pub is_foreign: bool,
}

/// An image for linux/amd64 that is known to the last byte, and where to get it.
#[derive(Clone, Debug)]
pub struct Resolved {
    pub reference: Reference,
    /// Digest of the image's own manifest: what identifies the image.
    pub digest: Digest,
    /// Digest of the index that the reference named, if it was one.
    pub index_digest: Option<Digest>,
    pub config: ImageConfig,
    /// Lowest layer first.
    pub layers: Vec<Layer>,
    /// The blobs that tell all this: index, manifest, configuration.
    pub documents: Vec<Digest>,
    /// What was wrong with the user's credentials although the registry did not need them.
    pub warnings: Vec<KeychainError>,
    pub(crate) endpoint: Endpoint,
}

impl Resolved {
    /// What all layers weigh in the registry, each distinct one counted once.
    #[must_use]
    pub fn compressed_bytes(&self) -> u64 {
        self.distinct_layers().map(|layer| layer.size_bytes).fold(0, u64::saturating_add)
    }

    /// The layers without repetitions.
    pub(crate) fn distinct_layers(&self) -> impl Iterator<Item = &Layer> {
        let mut seen = std::collections::HashSet::new();
        self.layers.iter().filter(move |layer| seen.insert(layer.digest))
    }
}

/// What is wrong with what a registry says about an image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error("{what} is not the JSON that it should be (line {line}, column {column})")]
    Json { what: String, line: usize, column: usize },
    #[error("{what} has the media type `{found}`, which is none of an image")]
    MediaType { what: String, found: String },
    #[error("{what} is said to be `{promised}` and says itself that it is `{found}`")]
    MediaTypeDiffers { what: String, promised: String, found: String },
    #[error("it is in the format of before 2016 (schema 1), which registries themselves no longer take")]
    SchemaOne,
    #[error("it is not a container image but `{0}`")]
    Artifact(String),
    #[error("its manifest is image and index at once, which one must not believe")]
    Ambiguous,
    #[error("its indexes are nested more than {0} deep")]
    TooDeep(usize),
    #[error("its index lists no image at all")]
    EmptyIndex,
    #[error("{what} has no `{field}`")]
    Incomplete { what: String, field: &'static str },
    #[error("it has {found} layers, more than the {limit} that are taken")]
    TooManyLayers { found: usize, limit: usize },
    #[error("layer {number} is encrypted (`{media_type}`)")]
    EncryptedLayer { number: usize, media_type: String },
    #[error("layer {number} is of a kind that is not known: `{media_type}`")]
    UnknownLayer { number: usize, media_type: String },
    #[error("it has {layers} layers, and its configuration describes {diff_ids}")]
    LayerCount { layers: usize, diff_ids: usize },
    #[error("its configuration has a NUL character in `{0}`")]
    Nul(&'static str),
    #[error("{what} names a digest that cannot be used")]
    Digest { what: String, source: DigestError },
    #[error(
        "{what} is said to have {size_bytes} bytes, more than the {limit_bytes} that are read of such a thing"
    )]
    TooLarge { what: String, size_bytes: u64, limit_bytes: u64 },
}
