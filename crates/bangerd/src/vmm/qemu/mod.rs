//! QEMU's microvm machine: with KVM where that is usable, else pure emulation, which works everywhere.

mod args;
mod process;

pub use process::{Qemu, QemuError, Spawned};
