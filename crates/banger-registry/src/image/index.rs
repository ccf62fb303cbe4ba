//! The choice among the images of an index: linux/amd64, whatever else there is.

use super::wire::{self, Descriptor, Platform};
use super::{ImageError, printable};

/// How many indexes an image may lie within.
pub(crate) const MAX_DEPTH: usize = 3;

/// How many entries without a platform are looked into.
const MAX_UNMARKED: usize = 4;

/// Which entries may be the image.
#[derive(Debug)]
pub(crate) struct Choice {
    /// The best first. Empty where all are for other machines.
    pub(crate) candidates: Vec<Descriptor>,
    /// What the others are for, for the error message.
    pub(crate) offered: Vec<String>,
}

/// Picks from the entries of an index.
pub(crate) fn choose(entries: Vec<Descriptor>) -> Result<Choice, ImageError> {
    let mut fitting = Vec::new();
    let mut unmarked = Vec::new();
    let mut offered = Vec::new();
    let mut strangers = Vec::new();
    for entry in entries {
        let kind = &entry.media_type;
        if wire::is_specific(kind) && !wire::is_index(kind) && !wire::is_manifest(kind) {
            strangers.push(entry.media_type);
            continue;
        }
        match &entry.platform {
            None => unmarked.push(entry),
            // Build attestations are images in form only.
            Some(platform) if platform.is_unknown() => {}
            Some(Platform { os, architecture, variant }) => match foreign(os, architecture, variant) {
                None => fitting.push(entry),
                Some(platform) => offered.push(platform),
            },
        }
    }
    fitting.sort_by_key(|entry| variant_rank(entry.platform.as_ref()));
    fitting.truncate(1);
    if fitting.is_empty() {
        unmarked.truncate(MAX_UNMARKED);
        fitting = unmarked;
    }
    if let (true, true, Some(stranger)) = (fitting.is_empty(), offered.is_empty(), strangers.first()) {
        return Err(ImageError::MediaType {
            what: "an entry of its index".to_owned(),
            found: printable(stranger, 100),
        });
    }
    if fitting.is_empty() && offered.is_empty() {
        return Err(ImageError::EmptyIndex);
    }
    offered.sort();
    offered.dedup();
    offered.truncate(20);
    Ok(Choice { candidates: fitting, offered })
}

/// The plainest instruction set runs everywhere; v2 and later need a CPU that the guest may not have.
fn variant_rank(platform: Option<&Platform>) -> usize {
    let variant = platform.map_or("", |platform| platform.variant.as_str());
    ["", "v1", "v2", "v3", "v4"].iter().position(|known| *known == variant).unwrap_or(usize::MAX)
}

/// `os/architecture`, if that is not linux/amd64. What is not said is taken to fit.
pub(crate) fn foreign(os: &str, architecture: &str, variant: &str) -> Option<String> {
    let os = if os.is_empty() { "linux".to_owned() } else { os.to_ascii_lowercase() };
    let architecture = match architecture.to_ascii_lowercase().as_str() {
        "" | "amd64" | "x86_64" | "x86-64" => "amd64".to_owned(),
        other => other.to_owned(),
    };
    if os == "linux" && architecture == "amd64" {
        return None;
    }
    let variant = if variant.is_empty() { String::new() } else { format!("/{variant}") };
    Some(printable(&format!("{os}/{architecture}{variant}"), 60))
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
