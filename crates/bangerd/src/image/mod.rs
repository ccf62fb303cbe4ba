//! Images: read-only ext4 root filesystems, shared by all VMs that start from them.
//!
//! Whatever one is made from, it goes the same way: a file in a staging directory, then its own directory,
//! then a row with its name ([`publish`]).

mod archive;
#[cfg(test)]
mod archive_tests;
mod bundle;
mod error;
mod import;
#[cfg(test)]
mod import_tests;
mod layers;
mod oci;
mod origin;
mod prune;
mod publish;
mod pull;
mod recover;
mod rootfs;
mod service;
#[cfg(test)]
mod tests;

pub use error::ImageError;
pub use import::{ImportError, ImportRequest};
pub(crate) use origin::{how_to_get, image_ref};
pub use pull::PullRequest;
pub(crate) use pull::WantedImage;
pub(crate) use recover::RECORD;
pub use service::ImageService;
