//! Kernels: the `vmlinux` that VMs boot, its modules, and the initramfs that brings the agent.
//!
//! Wherever one comes from, it goes the same way: a tar (or a bundle), finished files in a staging directory,
//! a directory of its own, then a row with its name (`make`).
//!
//! The modules' part of the initramfs is made once per kernel; the agent's part is put in front of it per
//! agent build (Linux takes archives one after the other), in the cache, where it may be lost at any time.

mod agent;
mod error;
mod export;
mod import;
#[cfg(test)]
mod import_tests;
mod initramfs;
mod make;
mod pull;
mod recover;
mod service;
#[cfg(test)]
mod tests;

pub use agent::{AgentError, agent_path};
pub use error::{InitramfsFileError, KernelError};
pub(crate) use recover::RECORD;
pub use service::KernelService;
