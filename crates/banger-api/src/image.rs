//! Images: the read-only root filesystems that VMs start from.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// An image on this host, or one of the catalog that could be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Image {
    pub name: String,
    /// Is it on this host?
    pub local: bool,
    /// Where it comes from: `debian trixie`.
    pub source: String,
    /// Size of the filesystem, in bytes; none for one that is not local.
    pub size_bytes: Option<u64>,
    /// What it takes on disk, in bytes.
    pub disk_used_bytes: Option<u64>,
    /// SHA-256 of the tar stream that it was made from, in hex. Not of the image file, most of which is holes.
    pub sha256: Option<String>,
    /// Milliseconds since the Unix epoch.
    pub created_at_unix_ms: Option<u64>,
    /// Names of the VMs that use it.
    pub used_by: Vec<String>,
}

/// How an image's maker wants programs to be run in it: the `config` of an OCI image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ImageConfig {
    /// `NAME=VALUE` each; what is run in a VM gets them.
    pub env: Vec<String>,
    /// Where programs run when nobody says otherwise.
    pub working_dir: Option<String>,
    /// Told, not used: in a VM of one's own one is root.
    pub user: Option<String>,
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    /// `8080/tcp`.
    pub exposed_ports: Vec<String>,
}

/// Gets an image of the catalog.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PullImage {
    pub name: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct ListImages {
    /// Those of the catalog that are not on this host, too.
    #[serde(default)]
    pub available: bool,
}
