//! Manifests and indexes: telling which one it is, and reading a manifest's layers.

use super::wire::{self, Descriptor, Document};
use super::{Compression, ImageError, printable};
use crate::digest::Digest;

/// Most layers that are taken. Docker stops at 127.
const MAX_LAYERS: usize = 1024;

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
    pub(crate) compression: Compression,
}

/// Reads a document of which others (its descriptor, the HTTP header) have said what it is.
pub(crate) fn read(what: &str, bytes: &[u8], promised: &[&str]) -> Result<Content, ImageError> {
    let document: Document = wire::parse(what, bytes)?;
    let header_of_schema_one = "application/vnd.docker.distribution.manifest.v1+";
    if document.schema_version == Some(1)
        || document.fs_layers.is_some()
        || promised.iter().any(|claim| claim.starts_with(header_of_schema_one))
    {
        return Err(ImageError::SchemaOne);
    }
    if document.manifests.is_some() && (document.layers.is_some() || document.config.is_some()) {
        return Err(ImageError::Ambiguous);
    }
    match agreed_type(what, promised, document.media_type.as_deref())? {
        Some(found) if wire::is_index(found) => index(what, document),
        Some(found) if wire::is_manifest(found) => image(what, document),
        Some(found) => Err(ImageError::MediaType { what: what.to_owned(), found: printable(found, 100) }),
        None if document.manifests.is_some() => index(what, document),
        None => image(what, document),
    }
}

/// The one media type that all agree on, if any of them names one in earnest.
fn agreed_type<'a>(
    what: &str,
    promised: &[&'a str],
    own: Option<&'a str>,
) -> Result<Option<&'a str>, ImageError> {
    let mut agreed: Option<&str> = None;
    for claim in promised.iter().copied().chain(own).filter(|claim| claim.contains("/vnd.")) {
        match agreed {
            Some(before) if before != claim => {
                return Err(ImageError::MediaTypeDiffers {
                    what: what.to_owned(),
                    promised: printable(before, 100),
                    found: printable(claim, 100),
                });
            }
            _ => agreed = Some(claim),
        }
    }
    Ok(agreed)
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
    let layers = document.layers.ok_or_else(|| missing(what, "layers"))?;
    if layers.len() > MAX_LAYERS {
        return Err(ImageError::TooManyLayers { found: layers.len(), limit: MAX_LAYERS });
    }
    let layers = layers.iter().enumerate().map(|(at, layer)| read_layer(at + 1, layer));
    Ok(Content::Image(ImageManifest { config, layers: layers.collect::<Result<_, _>>()? }))
}

fn read_layer(number: usize, layer: &Descriptor) -> Result<LayerBlob, ImageError> {
    let compression = compression(number, &layer.media_type)?;
    let digest =
        layer.digest().map_err(|source| ImageError::Digest { what: format!("layer {number}"), source })?;
    Ok(LayerBlob { digest, size_bytes: layer.size, compression })
}

fn compression(number: usize, media_type: &str) -> Result<Compression, ImageError> {
    match media_type {
        "application/vnd.oci.image.layer.v1.tar" | "application/vnd.docker.image.rootfs.diff.tar" => {
            Ok(Compression::None)
        }
        "application/vnd.oci.image.layer.v1.tar+gzip"
        | "application/vnd.docker.image.rootfs.diff.tar.gzip" => Ok(Compression::Gzip),
        "application/vnd.oci.image.layer.v1.tar+zstd"
        | "application/vnd.docker.image.rootfs.diff.tar.zstd" => Ok(Compression::Zstd),
        _ => {
            let shown = printable(media_type, 100);
            Err(if media_type.contains(".nondistributable.") || media_type.contains(".foreign.") {
                ImageError::ForeignLayer { number, media_type: shown }
            } else if media_type.ends_with("+encrypted") {
                ImageError::EncryptedLayer { number, media_type: shown }
            } else {
                ImageError::UnknownLayer { number, media_type: shown }
            })
        }
    }
}

#[cfg(test)]
#[path = "manifest_tests.rs"]
mod tests;
