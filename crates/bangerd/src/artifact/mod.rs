//! What images and kernels have in common: files that are got once, staged, published under an id, and then
//! only read.
//!
//! ```text
//! catalog entry --Archive--> tar --service--> staging directory --rename--> <dir>/<id>/ --> row in the store
//! ```
//!
//! Each directory carries a record of what it is ([`crate::record`]). The row is written last and removed
//! first; a directory loses its name before it is removed. So a crash leaves a whole directory without a row
//! at worst, and the next daemon writes the row anew ([`ArtifactStore::reclaim`]). Nothing is removed because
//! a row is missing.

mod archive;
mod artifact_store;
pub(crate) mod bundle;
mod error;
#[cfg(test)]
pub(crate) mod fake;
mod flights;
mod from_catalog;
mod staged;

pub use archive::{Archive, ArchiveError, DebianArchive};
pub use bundle::BundleError;
pub use error::ArtifactError;

pub(crate) use artifact_store::ArtifactStore;
pub(crate) use flights::turn;
pub(crate) use from_catalog::BuildStages;
pub(crate) use staged::{Work, build_dir, in_staging, remove_build_dir};
