use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use super::{SandboxError, SandboxStatus, VmmSandbox};

/// Programs and libraries, firmware, and the little of `/proc` and `/sys` that a VMM looks at.
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
const DEVICES: &[&str] = &["/dev/null"];
const KVM: &[&str] = &["/dev/kvm"];

/// The newest rules this code knows; older kernels get what they know of them.
pub(super) const LANDLOCK_ABI: ABI = ABI::V9;

/// Confines this thread to its files, and what it executes as well, for good.
pub(super) fn restrict_self(sandbox: &VmmSandbox, program: &Path) -> Result<SandboxStatus, SandboxError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let write = AccessFs::ReadFile | AccessFs::WriteFile;
    let mut rules = ruleset(sandbox)?;
    // The system's paths differ between distributions: those that are not there need no rule.
    let kvm = if sandbox.kvm { KVM } else { &[] };
    let device = write | AccessFs::IoctlDev;
    for (paths, access) in
        [(READ_AND_EXECUTE, read | AccessFs::Execute), (READ_ONLY, read), (DEVICES, device), (kvm, device)]
    {
        for path in paths.iter().filter_map(|path| PathFd::new(path).ok().zip(Some(Path::new(path)))) {
            rules = allow(rules, path, access)?;
        }
    }
    rules = allow_named(rules, program, read | AccessFs::Execute)?;
    for path in &sandbox.read_only {
        rules = allow_named(rules, path, read)?;
    }
    for path in &sandbox.read_write {
        rules = allow_named(rules, path, write)?;
    }
    Ok(match rules.restrict_self()?.ruleset {
        RulesetStatus::FullyEnforced => SandboxStatus::Full,
        RulesetStatus::PartiallyEnforced => SandboxStatus::Partial,
        RulesetStatus::NotEnforced => SandboxStatus::Unsupported,
    })
}

/// What is denied unless a rule allows it.
fn ruleset(sandbox: &VmmSandbox) -> Result<RulesetCreated, RulesetError> {
    let network = match sandbox.network {
        // Whoever has a network connects for the guest; nobody outside has to reach it.
        true => AccessNet::BindTcp.into(),
        false => AccessNet::from_all(LANDLOCK_ABI),
    };
    Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(LANDLOCK_ABI))?
        .handle_access(network)?
        .scope(Scope::from_all(LANDLOCK_ABI))?
        .create()
}

pub(super) fn allow_named(
    rules: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, SandboxError> {
    let open = PathFd::new(path).map_err(|source| SandboxError::Path { path: path.to_owned(), source })?;
    Ok(allow(rules, (open, path), access)?)
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
