//! What images and kernels have in common: files that are got once, staged, published under an id, and then only read.
//!
//! ```text
//! catalog entry --Archive--> tar --service--> staging directory --rename--> <shelf>/<id>/ --> row in the store
//! ```
//!
//! Each directory carries a record of what it is ([`crate::record`]). The row is written last and removed first; a directory
//! loses its name before it is removed. So a crash leaves a whole directory without a row at worst, and the next daemon
//! writes the row anew ([`Shelf::reclaim`]). Nothing is removed because a row is missing.

mod archive;
pub(crate) mod bundle;
mod checksum;
mod error;
#[cfg(test)]
pub(crate) mod fake;
mod flights;
mod shelf;
mod staged;

pub use archive::{Archive, ArchiveError, DebianArchive};
pub use bundle::BundleError;
pub use error::ArtifactError;

pub(crate) use checksum::{is_sha256, sha256, sha256_file};
pub(crate) use flights::Flights;
pub(crate) use shelf::Shelf;
pub(crate) use staged::{Work, build_dir, fetch_tar, in_staging, remove_build_dir};

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
