//! What `docker save` wrote for ten years, and many builders still do.

use serde::Deserialize;

use super::super::manifest::MAX_LAYERS;
use super::super::{ImageError, config, wire};
use super::tags::{Named, choose, reference};
use super::{ArchiveError, ArchivedImage, ArchivedLayer, Files};
use crate::digest::Digest;

/// An image in `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default, deserialize_with = "wire::words")]
    repo_tags: Vec<String>,
    #[serde(default, deserialize_with = "wire::null_is_default")]
    layers: Vec<String>,
}

impl Named for Saved {
    fn names(&self) -> &[String] {
        &self.repo_tags
    }

    /// It is in the name of the configuration, as far as programs agree.
    fn digest(&self) -> String {
        let name = self.config.rsplit('/').next().unwrap_or_default();
        let hex = name.trim_start_matches("sha256:").trim_end_matches(".json");
        format!("sha256:{hex}")
    }
}

/// Is this `manifest.json` a list of images? A manifest is none.
pub(super) fn is_list(manifest: &[u8]) -> bool {
    manifest.trim_ascii_start().starts_with(b"[")
}

pub(super) fn find(
    files: &Files<'_>,
    manifest: &[u8],
    tag: Option<&str>,
) -> Result<ArchivedImage, ArchiveError> {
    let saved: Vec<Saved> = wire::parse("its manifest.json", manifest)?;
    let Saved { config: file, repo_tags, layers } = choose(saved, tag)?;
    if layers.len() > MAX_LAYERS {
        return Err(ImageError::TooManyLayers { found: layers.len(), limit: MAX_LAYERS }.into());
    }
    let what = "its configuration".to_owned();
    let bytes = match blob_digest(&file) {
        Some(digest) => files.checked(&file, what, digest)?,
        None => files.required(&file, what)?,
    };
    let checked = config::read(&bytes, layers.len())?;
    if let Some(platform) = checked.foreign {
        return Err(ArchiveError::WrongPlatform { offered: vec![platform] });
    }
    let layer = |(file, diff_id): (String, Digest)| {
        let digest = blob_digest(&file);
        ArchivedLayer { file, digest, size_bytes: None, diff_id }
    };
    Ok(ArchivedImage {
        digest: Digest::of(&bytes),
        reference: reference(&repo_tags),
        config: checked.config,
        layers: layers.into_iter().zip(checked.diff_ids).map(layer).collect(),
    })
}

/// The digest in a name by which an OCI layout has a blob. Other names are whatever their makers like.
fn blob_digest(file: &str) -> Option<Digest> {
    format!("sha256:{}", file.strip_prefix("blobs/sha256/")?).parse().ok()
}
