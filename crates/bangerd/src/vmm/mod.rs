//! Virtual machine monitors: from what a VM is made of to a process that runs it.

mod acceleration;
mod host_disk;
mod monitor;
pub mod qemu;
mod qmp;

use std::path::PathBuf;

use banger_api::vm::{Acceleration, NetworkMode};

pub use acceleration::Accelerator;
pub use host_disk::{NoRoom, START_FLOOR_BYTES, room_to_start};
pub(crate) use monitor::look;
pub use monitor::{Monitor, pause_hint};
pub use qemu::{Qemu, QemuError, Spawned};

use crate::identity::VmId;

/// What a VM may have at most. Firecracker takes no more, and microvm's firmware tables grow with it: with 64 they no
/// longer fit behind the initramfs (docs/decisions/0007).
pub const VCPUS_MAX: u32 = 32;

/// Everything a VMM must know to boot a VM. Files of the VM's own are not in it: they have fixed names in its directory,
/// which is the VMM's working directory.
#[derive(Clone, Debug)]
pub struct BootSpec {
    pub id: VmId,
    pub vcpu: u32,
    pub memory_mib: u64,
    pub acceleration: Acceleration,
    /// The host's time stamp counter in kHz, when it is constant.
    pub tsc_khz: Option<u64>,
    pub network: NetworkMode,
    pub vmlinux: PathBuf,
    pub initramfs: PathBuf,
    /// The image, attached read-only.
    pub image: PathBuf,
    /// The kernel's modules, attached read-only.
    pub modules: PathBuf,
}

/// Serial numbers by which the agent tells the disks apart.
pub mod serial {
    pub const BASE: &str = "base";
    pub const COW: &str = "cow";
    pub const WORK: &str = "work";
    pub const MODULES: &str = "modules";
}

/// The fixed addresses of the user-mode network.
pub mod user_network {
    use std::net::Ipv4Addr;

    pub const GUEST: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
    pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);
    pub const DNS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 3);
    pub const PREFIX_LEN: u8 = 24;
}
