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
    /// SHA-256 of what it was made from, in hex: the tar stream, the OCI manifest (the configuration where an
    /// archive has none), the imported file. Not of the image file, most of which is holes. None for one that
    /// is used in place.
    pub sha256: Option<String>,
    /// Milliseconds since the Unix epoch.
    pub created_at_unix_ms: Option<u64>,
    /// Names of the VMs that use it.
    pub used_by: Vec<String>,
    /// The full OCI reference that it was pulled by, or that the archive had it under which it was imported
    /// from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The kernel of its VMs when nobody asks for another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// The user's file, where that is used where it lies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_place: Option<String>,
    #[serde(default)]
    pub config: ImageConfig,
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

/// Gets an image of the catalog or from an OCI registry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PullImage {
    /// A name of the catalog, else an OCI reference (`debian:bookworm`, `ghcr.io/owner/name@sha256:...`).
    pub name: String,
    /// What to call it on this host; its own name when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub save_as: Option<String>,
    /// Size of the filesystem, in MiB; at least 8 GiB when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_mib: Option<u64>,
    /// The kernel of its VMs when nobody asks for another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// Talk to the registry over plain HTTP, or with a certificate that nobody vouches for.
    #[serde(default)]
    pub insecure: bool,
}

/// Makes an image of a local file or directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportImage {
    pub name: String,
    /// An ext4 filesystem, a tarball of a root filesystem (plain, gzip, zstd, xz), an image bundle, an
    /// archive of container images (`docker save`, OCI; packed likewise) or a directory with an OCI layout.
    /// Absolute.
    pub path: String,
    /// Use the ext4 file where it lies, instead of a copy. Nobody may write to it from then on.
    #[serde(default)]
    pub in_place: bool,
    /// Which of an archive's images: a reference, a tag or a digest. Needed when it holds several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Size of the filesystem made of a tarball, in MiB; at least 8 GiB when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_mib: Option<u64>,
    /// The kernel of its VMs when nobody asks for another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
}

/// Removes what no VM uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PruneImages {
    /// Only tell what would go.
    #[serde(default)]
    pub dry_run: bool,
}

/// What went, or would go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PrunedImages {
    /// Images that no VM uses. Those that are used in place are none of them.
    pub images: Vec<PrunedImage>,
    /// Downloaded layers that no image on this host is made of, unfinished ones as well.
    pub blobs: u64,
    /// What those layers take on disk, in bytes.
    pub blob_bytes: u64,
    /// What a killed daemon left behind.
    pub leftovers: Vec<String>,
    /// All of it together, in bytes of disk space.
    pub freed_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PrunedImage {
    pub name: String,
    /// What it takes on disk, in bytes.
    pub disk_used_bytes: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct ListImages {
    /// Those of the catalog that are not on this host, too.
    #[serde(default)]
    pub available: bool,
}
