//! Images out of OCI registries, and single files over HTTP: verified, resumed, bounded.
//!
//! The way of a pull: [`Reference`] (what was typed) -> [`Client::resolve`] (manifests and configuration,
//! every one checked against the digest that named it) -> [`Resolved`] -> [`Client::fetch`] (layers into the
//! [`BlobStore`], resumed where they stopped) -> one [`BlobLease`] per layer, which keeps its file from
//! [`BlobStore::prune`].
//!
//! Registries are not trusted: what they send is bounded in size, nesting and time, and believed only where
//! its digest is right. Credentials go to the registry that they are for and to the token server it names,
//! over https, and to nobody else; no error, `Debug` or progress text holds one.
//!
//! The crate spawns no process and reads no environment of its own accord: [`Settings`], [`Keychain`] and the
//! runner of credential helpers come in by constructor.

mod digest;
mod error;
mod printable;
mod reference;
mod settings;

mod answer;
mod auth;
mod client;
mod image;
mod store;
mod transport;

pub use auth::{CredentialHelper, HelperFuture, HelperOutput, Keychain, KeychainError};
pub use client::{Client, FileRequest, Progress};
pub use digest::{Digest, DigestError};
pub use error::{Cause, RegistryError, Size};
pub use image::archive::{ArchiveError, ArchivedImage, ArchivedLayer, ReadFile, find_archived};
pub use image::{ExposedPort, ImageConfig, ImageError, Layer, Protocol, Resolved};
pub use reference::{Reference, ReferenceError};
pub use settings::{Certificates, Lookup, Proxies, Retries, Roots, Security, Settings, Timeouts};
pub use store::{BlobLease, BlobStore, Flights, Freed, Turn};
