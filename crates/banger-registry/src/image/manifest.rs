//! Manifests and indexes: telling which one it is, and reading a manifest's layers.

use super::wire::{self, Descriptor, Document};
use super::{ImageError, Layer, printable};
use crate::digest::Digest;

/// Most layers that are taken. Docker stops at 127.
pub(super) const MAX_LAYERS: usize = 1024;

/// A document after its checks.
#[derive(Debug)]
pub(crate) enum Content {
    Index(Vec<Descriptor>),
    Image(ImageManifest),
}

/// What makes an image.
#[derive(Debug)]
pub(crate) struct ImageManifest {
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<LayerBlob>,
}

/// A layer as its manifest has it: what it unpacks to stands in the configuration.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LayerBlob {
    pub(crate) digest: Digest,
    pub(crate) size_bytes: u64,
    pub(crate) is_foreign: bool,
}

impl ImageManifest {
    /// The layers, with what they unpack to: there are as many of these.
    pub(crate) fn layers(self, diff_ids: Vec<Digest>) -> Vec<Layer> {
        let pairs = self.layers.into_iter().zip(diff_ids);
        let layers = pairs.map(|(LayerBlob { digest, size_bytes, is_foreign }, diff_id)| Layer {
            digest,
            size_bytes,
            diff_id,
            is_foreign,
        });
        layers.collect()
    }
}

/// Reads a document of which others (its descriptor, the HTTP header) have said what it is.
///
/// What it is must be beyond doubt, since an image and an index could share one digest. Whether it is
/// Docker's or OCI's kind of either is not: registries and builders mix them.
pub(crate) fn read(what: &str, bytes: &[u8], promised: &[&str]) -> Result<Content, ImageError> {
    let document: Document = wire::parse(what, bytes)?;
    let of_schema_one = "application/vnd.docker.distribution.manifest.v1+";
    let has_content = document.manifests.is_some() || document.config.is_some();
    let is_said_to_be_old = !has_content && promised.iter().any(|claim| claim.starts_with(of_schema_one));
    if document.schema_version == Some(1) || document.fs_layers.is_some() || is_said_to_be_old {
        return Err(ImageError::SchemaOne);
    }
    if document.manifests.is_some() && (document.layers.is_some() || document.config.is_some()) {
        return Err(ImageError::Ambiguous);
    }
    let own = document.media_type.as_deref();
    let claims = promised.iter().copied().filter(|claim| !claim.starts_with(of_schema_one));
    match agreed_kind(what, claims.chain(own))? {
        Some(Kind::Index) => index(what, document),
        Some(Kind::Manifest) => image(what, document),
        None if document.manifests.is_some() => index(what, document),
        None => image(what, document),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Index,
    Manifest,
}

/// The one kind that all agree on, if any of them names one in earnest.
fn agreed_kind<'a>(what: &str, claims: impl Iterator<Item = &'a str>) -> Result<Option<Kind>, ImageError> {
    let mut agreed: Option<(Kind, &str)> = None;
    for claim in claims.filter(|claim| wire::is_specific(claim)) {
        let kind = match claim {
            claim if wire::is_index(claim) => Kind::Index,
            claim if wire::is_manifest(claim) => Kind::Manifest,
            _ => return Err(ImageError::MediaType { what: what.to_owned(), found: printable(claim, 100) }),
        };
        match agreed {
            Some((before, promised)) if before != kind => {
                return Err(ImageError::MediaTypeDiffers {
                    what: what.to_owned(),
                    promised: printable(promised, 100),
                    found: printable(claim, 100),
                });
            }
            _ => agreed = Some((kind, claim)),
        }
    }
    Ok(agreed.map(|(kind, _)| kind))
}

fn missing(what: &str, field: &'static str) -> ImageError {
    ImageError::Incomplete { what: what.to_owned(), field }
}

fn index(what: &str, document: Document) -> Result<Content, ImageError> {
    Ok(Content::Index(document.manifests.ok_or_else(|| missing(what, "manifests"))?))
}

fn image(what: &str, document: Document) -> Result<Content, ImageError> {
    let config = document.config.ok_or_else(|| missing(what, "config"))?;
    if !wire::is_config(&config.media_type) {
        let kind = document.artifact_type.as_deref().unwrap_or(&config.media_type);
        return Err(ImageError::Artifact(printable(kind, 100)));
    }
    // Go's programs write `null` for a list without members.
    let layers = document.layers.unwrap_or_default();
    if layers.len() > MAX_LAYERS {
        return Err(ImageError::TooManyLayers { found: layers.len(), limit: MAX_LAYERS });
    }
    let layers = layers.iter().enumerate().map(|(at, layer)| read_layer(at + 1, layer));
    Ok(Content::Image(ImageManifest { config, layers: layers.collect::<Result<_, _>>()? }))
}

fn read_layer(number: usize, layer: &Descriptor) -> Result<LayerBlob, ImageError> {
    let media_type = wire::bare(&layer.media_type).to_ascii_lowercase();
    let shown = || printable(&layer.media_type, 100);
    if media_type.ends_with("+encrypted") {
        return Err(ImageError::EncryptedLayer { number, media_type: shown() });
    }
    // How it is packed is told by its content. What is said to be no archive at all (a Helm chart's
    // signature, WebAssembly) is better told by its name than by what a tar reader makes of it.
    let may_be_a_tar = ["tar", "rootfs.diff", "gzip", "zstd", "octet-stream"];
    if !media_type.is_empty() && !may_be_a_tar.iter().any(|part| media_type.contains(part)) {
        return Err(ImageError::UnknownLayer { number, media_type: shown() });
    }
    let digest =
        layer.digest().map_err(|source| ImageError::Digest { what: format!("layer {number}"), source })?;
    let is_foreign = media_type.contains(".nondistributable.") || media_type.contains(".foreign.");
    Ok(LayerBlob { digest, size_bytes: layer.size, is_foreign })
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
