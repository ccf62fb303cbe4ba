//! Bundles: an image or a kernel in one file, to be kept on a server and pulled by its checksum
//! (docs/decisions/0012).
//!
//! A `.tar.zst`. First `manifest.json`, then exactly the files it names, in its order; what is mostly holes
//! is stored as a sparse entry. [`export()`] writes one, [`unpack()`] reads one into a staging directory,
//! [`get()`] gets one that a catalog names.
//!
//! Whoever reads one does not trust it: every name, size and checksum is checked against the manifest, the
//! manifest against what its kind may have, and nothing is published before all of it was read.

mod error;
mod export;
mod get;
mod manifest;
mod read;
mod tar_stream;
#[cfg(test)]
mod tests;
mod unpack;
mod write;

pub use error::BundleError;

pub(crate) use export::export;
pub(crate) use get::{Fetcher, Got, get, unpack_file};
pub(crate) use manifest::Details;
pub(crate) use unpack::{Expected, Unpacked, is_bundle, unpack};
