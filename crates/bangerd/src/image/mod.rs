//! Images: read-only ext4 root filesystems, shared by all VMs that start from them.

mod error;
mod pull;
mod service;
#[cfg(test)]
mod tests;

pub use error::ImageError;
pub use service::ImageService;
