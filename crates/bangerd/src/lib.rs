//! The daemon: owns the user's VMs, images and kernels. `ARCHITECTURE.md` has the map.

pub mod artifact;
pub mod catalog;
pub mod clock;
pub mod config;
pub mod disk;
pub mod doctor;
pub mod download;
pub mod file_sync;
pub mod guest;
pub mod identity;
pub mod image;
pub mod kernel;
pub mod logging;
pub mod operation;
pub mod paths;
pub mod server;
pub mod spelling;
pub mod store;
pub mod vm;
pub mod vmm;
pub mod workspace;
