//! PID 1: from the kernel's first jump into user space to a running agent.

use std::convert::Infallible;
use std::path::Path;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::console;
use crate::system_error::{Context, SystemError};

pub mod modules;
pub mod mounts;
pub mod power;
pub mod supervisor;

/// Where the initramfs keeps the kernel modules and their two lists.
pub const MODULES_DIR: &str = "/modules";

/// Why the guest could not be brought to its hello.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error(transparent)]
    System(#[from] SystemError),
    #[error("the early kernel modules did not load")]
    Modules(#[from] modules::ModuleError),
}

/// Runs as PID 1. Never returns: PID 1 must not end, so a failure powers the machine off.
pub fn run() -> ! {
    let Err(error) = boot();
    console::say(format_args!("boot failed: {}", console::one_line(&error)));
    power::end_machine(power::Ending::PowerOff)
}

fn boot() -> Result<Infallible, InitError> {
    mounts::mount_kernel_filesystems()?;
    for warning in modules::load_list(Path::new(MODULES_DIR), "early")? {
        console::say(warning);
    }
    let (ours, agents) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .context("open", "the socket between PID 1 and the agent")?;
    let agent = crate::spawn::agent(agents).context("start", "the agent process")?;
    Ok(supervisor::supervise(&ours, agent)?)
}
