//! What lay among banger's files and nothing explains: moved to `lost+found`, and kept until the user
//! decides.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One of the things found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LostThing {
    pub name: String,
    /// `vm`, `image`, `kernel` or `store`, by where it lay; none when that is not known any more.
    pub kind: Option<String>,
    /// Where it lay.
    pub from: Option<String>,
    /// Where it lies now.
    pub path: String,
    /// Why it could not stay there.
    pub why: String,
    pub found_at_unix_ms: Option<u64>,
    /// What it takes on disk, in bytes.
    pub disk_used_bytes: u64,
}

/// How to bring something back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RestoreLost {
    /// The image of a VM whose record is lost: its disk holds changes to that image, and to no other.
    #[serde(default)]
    pub image: Option<String>,
}

/// What was brought back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RestoredThing {
    /// `vm`, `image` or `kernel`.
    pub kind: String,
    /// What it is called now.
    pub name: String,
}
