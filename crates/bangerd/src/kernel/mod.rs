//! Kernels: the `vmlinux` that VMs boot, its modules, and the initramfs that brings the agent.
//!
//! The modules' part of the initramfs is made once per kernel; the agent's part is put in front of it per agent build
//! (Linux takes archives one after the other), in the cache, where it may be lost at any time.

mod agent;
mod error;
mod initramfs;
mod pull;
mod service;
#[cfg(test)]
mod tests;

pub use agent::{AgentError, agent_path};
pub use error::KernelError;
pub use service::KernelService;
