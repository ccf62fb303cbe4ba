//! The contract between the host (bangerd) and the guest (banger-agent).
//!
//! A conversation has three layers:
//!
//! 1. [`preamble`]: on a byte channel that may hold left-overs of an earlier session, both sides find a
//!    common start, and the guest says hello: its protocol version and its build. Over vsock each stream is a
//!    connection of its own and needs none of this; the answer to `GET /v1/health` is the hello.
//! 2. HTTP/1.1 requests, one per stream; bodies are the JSON types of [`messages`].
//! 3. After an HTTP Upgrade of `/v1/exec`, the [`frame`]s of a running command; of `/v1/forward`, the pieces
//!    of a TCP connection ([`forward`]). Files travel as an [`archive`] in a body.
//!
//! # Version policy
//!
//! [`PROTOCOL_VERSION`] grows when an old peer would misunderstand a new one. Added optional fields and new
//! endpoints do not change it. The host refuses an agent of another version with an error that names both,
//! and never guesses.

pub mod archive;
mod bytestring;
pub mod causes;
pub mod flow;
pub mod forward;
pub mod frame;
pub mod import;
pub mod messages;
pub mod ports;
pub mod preamble;
mod query;

pub use bytestring::ByteString;
pub use query::QueryError;

/// The protocol's version; see the version policy above.
pub const PROTOCOL_VERSION: u32 = 1;

/// The name of the virtio-serial port that carries the conversation (`/sys/class/virtio-ports/*/name` in the
/// guest).
pub const PORT_NAME: &str = "dev.banger.agent";

/// The vsock port on which the agent listens, where the machine has a vsock device.
pub const VSOCK_PORT: u32 = 1024;

/// Size of the chunks of a VM's copy-on-write disk, in bytes: this size measured best. The host reckons with
/// it how large that disk can become.
pub const COW_CHUNK_BYTES: u64 = 32 * 1024;

/// The HTTP `Upgrade` token of streams that carry [`frame`]s or the pieces of a [`forward`].
pub const UPGRADE_TOKEN: &str = "banger-stream";
