//! What the process may do that speaks to the network for a VM: connect, ask the host's resolver, and write
//! in one directory. Nothing is executed and no other process is touched.

use std::path::Path;

use landlock::{
    Access as _, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetStatus, Scope,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch, apply_filter};

use super::calls::{self, ExecKey};
use super::{SandboxError, SandboxStatus, VmmSandbox, files, inspect, process};

/// What the C library's resolver reads, its plug-ins included.
const READ_ONLY: &[&str] = &[
    "/etc",
    "/run/systemd/resolve",
    "/run/nscd",
    "/run/resolvconf",
    "/usr/lib",
    "/usr/lib64",
    "/lib",
    "/lib64",
];

/// As many as a guest may have connections, and then some.
const FILES_MAX: u64 = 4096;

/// Calls that a VMM has no use for, and this process has: sockets with addresses of their own, signals that
/// arrive over a pair of sockets, and logs that take turns.
const ALLOWED: &[libc::c_long] =
    &[libc::SYS_bind, libc::SYS_socketpair, libc::SYS_renameat, libc::SYS_renameat2];

/// Confines this process to `dir` and to the network, for good. To be called while it has one thread.
///
/// # Errors
///
/// When a part of it fails; the process is of no use then.
pub fn confine(dir: &Path) -> Result<SandboxStatus, SandboxError> {
    let sandbox = VmmSandbox { network: true, ..VmmSandbox::default() };
    process::shed(&sandbox)?;
    let hard = getrlimit(Resource::Nofile).maximum;
    let files = hard.map_or(FILES_MAX, |hard| hard.min(FILES_MAX));
    setrlimit(Resource::Nofile, Rlimit { current: Some(files), maximum: Some(files) }).map_err(|error| {
        SandboxError::Process { action: "limit the number of open files", source: error.into() }
    })?;
    let status = restrict_files(dir)?;
    process::drop_capabilities()?;
    restrict_calls(&sandbox)?;
    Ok(status)
}

fn restrict_files(dir: &Path) -> Result<SandboxStatus, SandboxError> {
    let abi = files::LANDLOCK_ABI;
    // The resolver's services have sockets there.
    let read = AccessFs::ReadFile | AccessFs::ReadDir | AccessFs::ResolveUnix;
    let write = AccessFs::ReadFile
        | AccessFs::ReadDir
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::RemoveFile;
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(AccessNet::BindTcp)?
        .scope(Scope::from_all(abi))?
        .create()?;
    for path in READ_ONLY.iter().map(Path::new).filter(|path| path.exists()) {
        rules = files::allow_named(rules, path, read)?;
    }
    rules = files::allow_named(rules, dir, write)?;
    rules = files::allow_named(rules, Path::new("/dev/null"), AccessFs::ReadFile | AccessFs::WriteFile)?;
    Ok(match rules.restrict_self()?.ruleset {
        RulesetStatus::FullyEnforced => SandboxStatus::Full,
        RulesetStatus::PartiallyEnforced => SandboxStatus::Partial,
        RulesetStatus::NotEnforced => SandboxStatus::Unsupported,
    })
}

/// From this version on landlock keeps a process from other Unix sockets than those of the resolver. Without,
/// there are none: the resolver then asks the servers of `/etc/resolv.conf` itself.
const UNIX_SOCKETS_ABI: u32 = 9;

/// What is denied a VMM, but for [`ALLOWED`] and more families of sockets: the resolver speaks to its service
/// over Unix sockets, and asks the kernel about routes. No exec shows a key that nobody knows.
fn restrict_calls(sandbox: &VmmSandbox) -> Result<(), SandboxError> {
    let mut rules = calls::rules(sandbox, &ExecKey::random()?, inspect::landlock_abi())?;
    for call in ALLOWED {
        rules.remove(call);
    }
    let mut families = vec![libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
    if inspect::landlock_abi() >= UNIX_SOCKETS_ABI {
        families.push(libc::AF_UNIX);
    }
    let other = calls::rule(
        families.into_iter().map(|family| calls::number(0, seccompiler::SeccompCmpOp::Ne, family)),
    )?;
    let raw = calls::rule([
        calls::number(0, seccompiler::SeccompCmpOp::Ne, libc::AF_NETLINK),
        calls::socket_type(libc::SOCK_RAW),
    ])?;
    rules.insert(libc::SYS_socket, vec![other, raw]);
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPERM as u32),
        TargetArch::x86_64,
    )?;
    let program = BpfProgram::try_from(filter)?;
    apply_filter(&calls::unknown_calls())?;
    Ok(apply_filter(&program)?)
}
