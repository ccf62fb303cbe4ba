//! From the initramfs to the image's root, for both processes.

use std::path::Path;

use rustix::fs::Mode;
use rustix::process::{chdir, chroot};

use super::ConfigureError;
use super::guest_root::GuestRoot;
use crate::init::mounts::MOVED_INTO_ROOT;
use crate::init::supervisor::{Request, Supervisor};
use crate::system_error::Context;

/// Moves the kernel's filesystems into the new root, and the new root over the old one.
///
/// PID 1 and the agent each have a root of their own. Both must stand in the new one before it is moved:
/// afterwards no path leads there from the old root.
pub(super) fn switch(root: GuestRoot, supervisor: &Supervisor) -> Result<(), ConfigureError> {
    for target in MOVED_INTO_ROOT {
        let target = Path::new(target);
        root.move_mount(target, target, Mode::from_raw_mode(0o755))?;
    }
    let new_root = root.mount_point().to_owned();
    drop(root);
    supervisor.ask(&Request::Enter(new_root.clone()))?;
    chdir(&new_root).context("enter", new_root.display())?;
    rustix::mount::mount_move(&new_root, "/").context("move over / the root at", new_root.display())?;
    chroot(".").context("change the root to", new_root.display())?;
    chdir("/").context("enter", "/")?;
    Ok(supervisor.ask(&Request::ChangeRoot)?)
}
