//! The name server for `.vm`: `NAME.vm` is the loopback address on which a VM's ports are forwarded
//! (`crate::identity::loopback_address`), as long as the VM runs.
//!
//! Nothing needs it: whoever wants names tells the host's resolver to ask here ([`routing`]). It answers for
//! its own zone alone, in less than 512 bytes, and where nobody has configured it otherwise, only this host
//! can ask.

mod asking;
pub mod routing;
mod server;
mod zone;

pub use asking::is_answering;
pub use server::{DnsServer, DnsStatus, serve};
