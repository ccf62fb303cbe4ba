//! The JSON of registries, as OCI's and Docker's specifications have it. What banger does not use is not
//! read.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use super::{ImageError, index};
use crate::digest::{Digest, DigestError};

const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// What a manifest is asked for as.
pub(crate) const ACCEPTED_MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json";

/// A media type without its parameters.
pub(crate) fn bare(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}

/// Whether a media type names something in earnest: `application/json` and the like are what servers say that
/// do not know.
pub(super) fn is_specific(media_type: &str) -> bool {
    media_type.contains("/vnd.")
}

pub(super) fn is_index(media_type: &str) -> bool {
    matches!(bare(media_type), OCI_INDEX | DOCKER_LIST)
}

pub(super) fn is_manifest(media_type: &str) -> bool {
    matches!(bare(media_type), OCI_MANIFEST | DOCKER_MANIFEST)
}

pub(super) fn is_config(media_type: &str) -> bool {
    matches!(bare(media_type), OCI_CONFIG | DOCKER_CONFIG) || !is_specific(media_type)
}

/// Index or manifest: which one it is must be seen before it is believed.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document {
    pub(super) schema_version: Option<u64>,
    pub(super) media_type: Option<String>,
    pub(super) artifact_type: Option<String>,
    pub(super) manifests: Option<Vec<Descriptor>>,
    pub(super) config: Option<Descriptor>,
    pub(super) layers: Option<Vec<Descriptor>>,
    /// Only in schema 1.
    #[serde(rename = "fsLayers")]
    pub(super) fs_layers: Option<serde::de::IgnoredAny>,
}

/// A reference to content: what kind, which, how much.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default, deserialize_with = "null_is_default")]
    pub(crate) media_type: String,
    digest: String,
    pub(crate) size: u64,
    pub(super) platform: Option<Platform>,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) artifact_type: String,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// Of a document of which only this is known.
    pub(super) fn of(digest: &Digest, size: u64) -> Self {
        let (media_type, artifact_type, annotations) = Default::default();
        Self { media_type, digest: digest.to_string(), size, platform: None, artifact_type, annotations }
    }

    /// Not what an index lists beside images: signatures, lists of what is in them.
    pub(super) fn may_be_an_image(&self) -> bool {
        let kind = &self.media_type;
        let is_of_one = !is_specific(kind) || is_index(kind) || is_manifest(kind);
        let is_attestation = self.platform.as_ref().is_some_and(Platform::is_unknown);
        is_of_one && self.artifact_type.is_empty() && !is_attestation
    }

    /// Is it said to be for another platform than linux/amd64?
    pub(super) fn is_foreign(&self) -> bool {
        let foreign =
            |platform: &Platform| index::foreign(&platform.os, &platform.architecture, &platform.variant);
        self.platform.as_ref().is_some_and(|platform| foreign(platform).is_some())
    }

    /// What it says to be for.
    pub(super) fn platform_words(&self) -> Option<[&str; 3]> {
        self.platform.as_ref().map(|one| [&one.os[..], &one.architecture[..], &one.variant[..]])
    }

    pub(crate) fn digest(&self) -> Result<Digest, DigestError> {
        self.digest.parse()
    }
}

/// What an entry of an index runs on.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Platform {
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) architecture: String,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) os: String,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) variant: String,
}

impl Platform {
    /// What builders write for attestations.
    pub(super) fn is_unknown(&self) -> bool {
        self.os == "unknown" && self.architecture == "unknown"
    }
}

/// The configuration blob.
#[derive(Debug, Deserialize)]
pub(super) struct ConfigFile {
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) architecture: String,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) os: String,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) variant: String,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) config: RunConfig,
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) rootfs: RootFs,
}

/// How the image's author wants it run. Builders write `null` for what is not set.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct RunConfig {
    #[serde(deserialize_with = "null_is_default")]
    pub(super) env: Vec<String>,
    #[serde(deserialize_with = "null_is_default")]
    pub(super) working_dir: String,
    #[serde(deserialize_with = "null_is_default")]
    pub(super) user: String,
    #[serde(deserialize_with = "words")]
    pub(super) entrypoint: Vec<String>,
    #[serde(deserialize_with = "words")]
    pub(super) cmd: Vec<String>,
    #[serde(deserialize_with = "null_is_default")]
    pub(super) exposed_ports: BTreeMap<String, serde::de::IgnoredAny>,
    #[serde(deserialize_with = "null_is_default")]
    pub(super) labels: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct RootFs {
    #[serde(default, deserialize_with = "null_is_default")]
    pub(super) diff_ids: Vec<String>,
}

pub(super) fn null_is_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    from: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// Docker once wrote a command of one word as a string.
pub(super) fn words<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Words {
        Many(Vec<String>),
        One(String),
    }
    Ok(match Option::deserialize(from)? {
        None => Vec::new(),
        Some(Words::Many(words)) => words,
        Some(Words::One(word)) if word.is_empty() => Vec::new(),
        Some(Words::One(word)) => vec![word],
    })
}

/// Reads JSON; what is wrong with it is told by place, without quoting it.
pub(super) fn parse<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, ImageError> {
    serde_json::from_slice(bytes).map_err(|error| ImageError::Json {
        what: what.to_owned(),
        line: error.line(),
        column: error.column(),
    })
}
