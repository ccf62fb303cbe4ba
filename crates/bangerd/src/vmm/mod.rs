//! Virtual machine monitors: from what a VM is made of to a process that runs it.
//!
//! A further one is a module beside `qemu/` that implements [`Vmm`] and [`Monitor`], and a line in
//! [`VmmKind`] and where [`Vmms`] are made. The rest of the daemon knows none by name.

mod acceleration;
mod error;
#[cfg(test)]
pub(crate) mod fake;
mod host_disk;
mod kind;
mod launcher;
mod machine;
mod pause_watch;
mod qemu;

use std::path::PathBuf;

use banger_api::vm::{Acceleration, Pause};
use banger_guest_protocol::messages::DiskSelector;
use banger_host::process::ProcessHandle;
use futures_util::future::BoxFuture;

pub use acceleration::Accelerator;
pub use error::{MonitorError, VmmError};
pub use host_disk::{NoRoom, START_FLOOR_BYTES, room_to_start};
pub use kind::{VmmKind, Vmms};
pub use machine::{Access, Disk, DiskRole, Kernel, Machine, Shared};
pub use pause_watch::{PauseWatch, pause_hint};
pub use qemu::Qemu;

use crate::channel::AgentChannel;
use crate::identity::VmId;
use crate::paths::VmDir;

/// A way to run VMs. Its processes outlive the daemon; a later daemon finds them by [`marker`] and their
/// working directory.
pub trait Vmm: Send + Sync {
    fn kind(&self) -> VmmKind;

    /// Where its program is.
    ///
    /// # Errors
    ///
    /// When there is none.
    fn find(&self) -> Result<PathBuf, VmmError>;

    fn limits(&self) -> Limits;

    /// How the agents of its VMs are reached.
    fn channel(&self) -> AgentChannel;

    /// Starts the process that runs `machine` in its directory, with [`marker`] among its arguments.
    ///
    /// When this returns somebody may connect to the agent's channel, and is hung up on if the guest never
    /// comes up. What the VMM complains about afterwards is in the VM's `vmm.log`.
    fn launch<'a>(
        &'a self,
        machine: &'a Machine,
        dir: &'a VmDir,
    ) -> BoxFuture<'a, Result<Launched, VmmError>>;

    /// Connects to the monitor of the VMM that runs in `dir`. It may speak to one at a time only.
    fn attach<'a>(&'a self, dir: &'a VmDir) -> BoxFuture<'a, Result<Box<dyn Monitor>, MonitorError>>;
}

/// A conversation with a VMM that runs.
pub trait Monitor: Send {
    /// Why the guest stands still; none while it runs.
    fn pause_reason(&mut self) -> BoxFuture<'_, Result<Option<Pause>, MonitorError>>;

    /// Waits until the guest may have been stopped, or may run again.
    fn changed(&mut self) -> BoxFuture<'_, Result<(), MonitorError>>;

    /// Has a guest that stands still go on.
    fn resume(&mut self) -> BoxFuture<'_, Result<(), MonitorError>>;

    /// What executes the guest's instructions.
    fn acceleration(&mut self) -> BoxFuture<'_, Result<Acceleration, MonitorError>>;
}

/// What a VMM cannot do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub vcpus_max: u32,
}

/// A VM's process, and what the guest must be told about it.
pub struct Launched {
    pub process: ProcessHandle,
    /// The process that writes down what the first one says. It ends a moment after that one, when all is
    /// written. None where the VMM writes the files itself.
    pub log_keeper: Option<ProcessHandle>,
    /// By what the guest can tell its disks apart.
    pub disks: Vec<(DiskRole, DiskSelector)>,
}

/// What marks a process as the VMM of VM `id`; `recover` looks for it among the arguments.
pub fn marker(id: &VmId) -> String {
    format!("{MARKER_START}{id}")
}

/// What every VMM's command line contains.
pub const MARKER_START: &str = "banger-";
