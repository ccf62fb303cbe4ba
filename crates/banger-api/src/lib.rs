//! The contract between the `banger` CLI and `bangerd`: one module per noun, and the typed [`Client`].
//!
//! HTTP/1.1 with JSON bodies over the Unix socket that the daemon's [`record`] names. Every request carries
//! the caller's [`Build`] in the header [`BUILD_HEADER`]; the daemon refuses another build's with
//! [`ErrorCode::VersionMismatch`]. [`record::STATE_HEADER`] says which state directory's daemon is meant;
//! another one's refuses it. With [`environment::ENVIRONMENT_HEADER`] it tells its proxies and the like.
//!
//! Anything that takes time answers with a stream of [`Event`]s, one JSON object a line (see [`operation`]).
//! Commands in a VM run over an HTTP Upgrade that carries the frames of [`stream`].

mod build;
pub mod bundle;
pub mod catalog;
mod client;
pub mod config;
pub mod daemon;
pub mod doctor;
pub mod egress;
pub mod environment;
mod error;
pub mod files;
pub mod image;
pub mod kernel;
pub mod lost_found;
pub mod operation;
pub mod ports;
pub mod record;
pub mod size;
pub mod socket;
pub mod ssh;
pub mod vm;
pub mod workspace;

/// Frames of a running command. The daemon hands them through unread, so they are the guest's own.
pub use banger_guest_protocol::frame as stream;
pub use banger_guest_protocol::{ByteString, QueryError, UPGRADE_TOKEN};

pub use build::{BUILD_HEADER, Build};
pub use client::{ByteStream, Client, ClientError, EventStream, ExecStream, Lines};
pub use error::{ApiError, ErrorCode};
pub use operation::Event;
