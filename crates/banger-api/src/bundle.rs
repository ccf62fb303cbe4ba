//! Bundles: an image or a kernel in one file.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Writes a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MakeBundle {
    /// The file to write. Absolute.
    pub output: String,
    /// Replace a file of that name.
    #[serde(default)]
    pub replace: bool,
}

/// A bundle that was written. Size and checksum go into the catalog that names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Bundle {
    pub path: String,
    pub size_bytes: u64,
    /// SHA-256 of the whole file, in hex.
    pub sha256: String,
}
