//! The daemon: owns the user's VMs, images and kernels. `ARCHITECTURE.md` has the map.

pub mod artifact;
pub mod catalog;
mod causes;
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
pub mod latest;
pub mod logging;
pub mod lost_found;
pub mod operation;
pub mod paths;
pub mod record;
pub mod repair;
pub mod server;
pub mod spelling;
pub mod store;
pub mod vm;
pub mod vmm;
pub mod watchdog;
pub mod workspace;
