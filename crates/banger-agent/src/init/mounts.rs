//! The kernel's own filesystems.

use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::mount::{MountFlags, mount};

use crate::system_error::{Context, SystemError};

/// Mounted by PID 1 in the initramfs and moved into the real root later; `/proc` last, because moving needs
/// it.
pub const MOVED_INTO_ROOT: [&str; 4] = ["/sys", "/dev", "/run", "/proc"];

/// Mounts `/proc /sys /dev /dev/pts /dev/shm /run` and points stdin, stdout and stderr at the console.
///
/// # Errors
///
/// The first mount that fails.
pub fn mount_kernel_filesystems() -> Result<(), SystemError> {
    let strict = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount_new("/proc", "proc", strict, None)?;
    mount_new("/sys", "sysfs", strict, None)?;
    mount_new("/dev", "devtmpfs", MountFlags::NOSUID, Some(c"mode=0755"))?;
    mount_new(
        "/dev/pts",
        "devpts",
        MountFlags::NOSUID | MountFlags::NOEXEC,
        Some(c"mode=0620,gid=5,ptmxmode=0666"),
    )?;
    mount_new("/dev/shm", "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, Some(c"mode=1777"))?;
    mount_new("/run", "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, Some(c"mode=0755"))?;
    for (link, target) in [
        ("/dev/fd", "/proc/self/fd"),
        ("/dev/stdin", "fd/0"),
        ("/dev/stdout", "fd/1"),
        ("/dev/stderr", "fd/2"),
    ] {
        // Conveniences of shells: a system without them still works.
        let _missing = rustix::fs::symlink(target, link);
    }
    attach_console()
}

/// Mounts the cgroup hierarchy, which an image's init would mount for itself.
///
/// # Errors
///
/// When the kernel has no cgroup2.
pub fn mount_cgroups() -> Result<(), SystemError> {
    let strict = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("cgroup2", "/sys/fs/cgroup", "cgroup2", strict, None).context("mount", "/sys/fs/cgroup")
}

fn mount_new(
    target: &str,
    kind: &str,
    flags: MountFlags,
    options: Option<&std::ffi::CStr>,
) -> Result<(), SystemError> {
    if !Path::new(target).is_dir() {
        std::fs::create_dir_all(target).context("create", target)?;
    }
    mount(kind, target, kind, flags, options).context("mount", target)
}

fn attach_console() -> Result<(), SystemError> {
    let console = rustix::fs::open("/dev/console", OFlags::RDWR | OFlags::NOCTTY, Mode::empty())
        .context("open", "/dev/console")?;
    rustix::stdio::dup2_stdin(&console).context("use as stdin", "/dev/console")?;
    rustix::stdio::dup2_stdout(&console).context("use as stdout", "/dev/console")?;
    rustix::stdio::dup2_stderr(&console).context("use as stderr", "/dev/console")
}
