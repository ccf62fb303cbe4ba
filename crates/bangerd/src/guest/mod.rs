//! The conversation with a VM's agent: HTTP/1.1 on every stream, whatever carries the streams ([`session`]).
//!
//! [`Guest`] is what the rest of the daemon holds. It connects when first needed and again when the session
//! broke or the daemon was restarted, so nobody has to know about sessions.

mod client;
mod command;
mod error;
mod files;
mod import;
mod outgoing;
mod ports;
mod serial;
mod session;
mod vsock;

pub use client::{ExecUpgrade, ForwardUpgrade, Guest};
pub use command::{GuestCommand, GuestOutput};
pub use error::GuestError;
pub use files::SmallFile;
