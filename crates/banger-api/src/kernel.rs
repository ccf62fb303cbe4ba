//! Kernels that VMs boot.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// A kernel on this host, or one of the catalog that could be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Kernel {
    pub name: String,
    /// Is it on this host?
    pub local: bool,
    /// Where it comes from: `debian trixie`.
    pub source: String,
    /// What `uname -r` prints; none for one that is not local.
    pub release: Option<String>,
    /// What it takes on disk, in bytes.
    pub disk_used_bytes: Option<u64>,
    /// SHA-256 of the `vmlinux` file, in hex.
    pub sha256: Option<String>,
    /// Milliseconds since the Unix epoch.
    pub created_at_unix_ms: Option<u64>,
    /// Names of the VMs that use it.
    pub used_by: Vec<String>,
}

/// Gets a kernel of the catalog.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PullKernel {
    pub name: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct ListKernels {
    /// Those of the catalog that are not on this host, too.
    #[serde(default)]
    pub available: bool,
}

/// Makes a kernel of what is on this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportKernel {
    pub name: String,
    /// A directory with a kernel and its modules in it, or a bundle. Absolute.
    pub from: String,
}
