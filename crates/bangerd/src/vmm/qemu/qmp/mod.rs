//! QEMU's machine protocol, as much of it as is needed: lines of JSON over a socket, answers and events
//! mixed.
//!
//! A guest may have taken its VMM over. What is read is bounded in length, in time and in how much of it
//! there may be.

mod connection;
mod message;

pub(super) use connection::Qmp;
pub(super) use message::{Drives, Kvm, Status};
