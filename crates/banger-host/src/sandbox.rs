//! What a VMM may touch, held by landlock.
//!
//! Applied in a process of its own (`bangerd vmm-launch`) that then becomes the VMM, because landlock is for good and there
//! must be no work between fork and exec in the daemon. Where the kernel has no landlock the VMM runs without it, and the
//! caller is told.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus,
};
use serde::{Deserialize, Serialize};

/// Programs and libraries, and the little of `/proc` and `/sys` that a VMM looks at.
const READ_AND_EXECUTE: &[&str] = &["/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin"];
const READ_ONLY: &[&str] = &[
    "/etc/ld.so.cache",
    "/etc/ld.so.preload",
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/qemu",
    "/proc/self",
    "/proc/sys",
    "/proc/meminfo",
    "/proc/cpuinfo",
    "/sys/devices/system",
    "/sys/module",
    "/run/systemd/resolve",
    "/dev/urandom",
];
const DEVICES: &[&str] = &["/dev/null", "/dev/kvm", "/dev/net/tun", "/dev/vhost-net", "/dev/vhost-vsock"];

/// The newest rules this code knows; older kernels get what they know of them.
const LANDLOCK_ABI: ABI = ABI::V5;

/// Why a VMM could not be started within bounds.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error("could not open {} for the sandbox", path.display())]
    Path { path: PathBuf, source: landlock::PathFdError },
    #[error("could not confine this process")]
    Landlock(#[from] RulesetError),
    #[error("could not execute {}", program.display())]
    Exec { program: PathBuf, source: io::Error },
}

/// The files a VMM needs besides the system's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmmSandbox {
    /// Its own directory, where it may do everything.
    #[serde(with = "crate::path_bytes")]
    pub vm_dir: PathBuf,
    /// Files and directories to read: image, kernel, initramfs, modules, the program itself.
    #[serde(with = "crate::path_bytes::list")]
    pub read_only: Vec<PathBuf>,
    /// Files to write as well.
    #[serde(with = "crate::path_bytes::list")]
    pub read_write: Vec<PathBuf>,
}

/// How much of it the kernel enforces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SandboxStatus {
    Full,
    /// An older kernel that knows some of the rules.
    Partial,
    /// No landlock in this kernel.
    Unsupported,
}

/// Confines this thread, and what it executes, for good. To be called while the process has one thread.
///
/// # Errors
///
/// When a path of `sandbox` does not exist, or the kernel refuses.
pub fn restrict_self(sandbox: &VmmSandbox) -> Result<SandboxStatus, SandboxError> {
    let all = AccessFs::from_all(LANDLOCK_ABI);
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let write = read | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev;
    let mut rules =
        Ruleset::default().set_compatibility(CompatLevel::BestEffort).handle_access(all)?.create()?;
    // The system's paths differ between distributions: those that are not there need no rule.
    for (paths, access) in [(READ_AND_EXECUTE, read | AccessFs::Execute), (READ_ONLY, read), (DEVICES, write)]
    {
        for path in paths.iter().filter_map(|path| PathFd::new(path).ok().zip(Some(Path::new(path)))) {
            rules = allow(rules, path, access)?;
        }
    }
    let open = |path: &Path| {
        PathFd::new(path).map_err(|source| SandboxError::Path { path: path.to_owned(), source })
    };
    rules = allow(rules, (open(&sandbox.vm_dir)?, &sandbox.vm_dir), all)?;
    for path in &sandbox.read_only {
        rules = allow(rules, (open(path)?, path), read | AccessFs::Execute)?;
    }
    for path in &sandbox.read_write {
        rules = allow(rules, (open(path)?, path), write)?;
    }
    Ok(match rules.restrict_self()?.ruleset {
        RulesetStatus::FullyEnforced => SandboxStatus::Full,
        RulesetStatus::PartiallyEnforced => SandboxStatus::Partial,
        RulesetStatus::NotEnforced => SandboxStatus::Unsupported,
    })
}

/// The kernel refuses rights to a file that only directories can have.
fn allow(
    rules: RulesetCreated,
    (open, path): (PathFd, &Path),
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    let access = if path.is_dir() { access } else { access & AccessFs::from_file(LANDLOCK_ABI) };
    rules.add_rule(PathBeneath::new(open, access))
}

/// Confines this process and makes it `program`. Returns only when that failed. The process keeps its pid and start time.
pub fn launch(sandbox: &VmmSandbox, program: &Path, args: &[OsString]) -> SandboxError {
    match restrict_self(sandbox) {
        Ok(SandboxStatus::Full) => {}
        Ok(status) => tracing::info!(?status, "landlock does not hold all of the sandbox"),
        Err(error) => return error,
    }
    #[allow(clippy::disallowed_methods, reason = "becomes the program; nothing is spawned")]
    let source = std::process::Command::new(program).args(args).exec();
    SandboxError::Exec { program: program.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Landlock holds per thread, so a thread is enough to try it.
    fn confined<T: Send + 'static>(
        sandbox: VmmSandbox,
        attempt: impl FnOnce() -> T + Send + 'static,
    ) -> (SandboxStatus, T) {
        let thread = std::thread::spawn(move || (restrict_self(&sandbox).unwrap(), attempt()));
        thread.join().unwrap()
    }

    #[test]
    fn only_what_was_given_can_be_reached() {
        let dir = tempfile::tempdir().unwrap();
        let [vm_dir, image, secret] = ["vm", "image", "secret"].map(|name| dir.path().join(name));
        std::fs::create_dir(&vm_dir).unwrap();
        std::fs::write(&image, b"image").unwrap();
        std::fs::write(&secret, b"secret").unwrap();
        let sandbox =
            VmmSandbox { vm_dir: vm_dir.clone(), read_only: vec![image.clone()], ..VmmSandbox::default() };
        let (status, allowed) = confined(sandbox, move || {
            [
                std::fs::write(vm_dir.join("disk"), b"x").is_ok(),
                std::fs::read(&image).is_ok(),
                std::fs::write(&image, b"changed").is_ok(),
                std::fs::read(&secret).is_ok(),
            ]
        });
        if status == SandboxStatus::Unsupported {
            println!("skipped in part: this kernel has no landlock");
            assert_eq!(allowed, [true; 4]);
        } else {
            assert_eq!(allowed, [true, true, false, false]);
        }
    }

    #[test]
    fn a_path_that_is_missing_is_named() {
        let sandbox = VmmSandbox { vm_dir: "/nonexistent/vm".into(), ..VmmSandbox::default() };
        let error = launch(&sandbox, Path::new("/bin/true"), &[]);
        assert_eq!(error.to_string(), "could not open /nonexistent/vm for the sandbox");
    }

    #[test]
    fn a_program_that_is_missing_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let sandbox = VmmSandbox { vm_dir: dir.path().to_owned(), ..VmmSandbox::default() };
        let launched = std::thread::spawn(move || launch(&sandbox, Path::new("/nonexistent/vmm"), &[]));
        assert_eq!(launched.join().unwrap().to_string(), "could not execute /nonexistent/vmm");
    }
}
