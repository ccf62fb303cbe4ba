//! What of the sandbox holds on this host: found out by confining a child and having it try.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::VmmSandbox;
use crate::command::Command;

/// From here on landlock keeps signals and abstract sockets inside.
pub const SIGNAL_SCOPE_ABI: u32 = 6;

/// Something that the sandbox should have closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Opening {
    /// Files besides its own can be opened.
    Files,
    /// Modes, owners and times of files can be changed.
    Modes,
    /// Other processes can be signalled.
    Signals,
    /// Sockets to other programs can be made.
    Sockets,
    /// Other programs can be executed.
    Programs,
    /// Some capability is left, or to be had.
    Privileges,
}

/// What a confined process found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// The kernel's version of landlock; 0 where it has none.
    pub landlock_abi: u32,
    pub open: Vec<Opening>,
}

/// Why it is not known what holds.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    #[error("could not start a confined process")]
    Start(#[from] crate::command::CommandError),
    #[error("a confined process did not end within {limit_ms} ms")]
    Hung { limit_ms: u64 },
    #[error("a confined process said something else than what it found")]
    Answer(#[from] serde_json::Error),
}

/// Confines a process that is made for it and runs [`run_probe_here`]: `launcher` is `bangerd`, `probe` its
/// argument.
///
/// # Errors
///
/// When it cannot be confined, or does not answer within `limit`.
pub async fn probe_in_child(
    launcher: &Path,
    probe: &str,
    limit: Duration,
) -> Result<Confinement, InspectError> {
    let sandbox = VmmSandbox { vm_dir: PathBuf::from("/"), ..VmmSandbox::default() };
    let sandbox = serde_json::to_string(&sandbox)?;
    let command =
        Command::new(launcher).args(["vmm-launch", "--sandbox", &sandbox, "--"]).arg(launcher).arg(probe);
    let output = tokio::time::timeout(limit, command.run())
        .await
        .map_err(|_| InspectError::Hung { limit_ms: limit.as_millis() as u64 })??;
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Tries in this process. It does no harm to one that is not confined: no call gets valid arguments.
pub fn run_probe_here() -> Confinement {
    let parent = rustix::process::getppid().map_or(0, |parent| parent.as_raw_nonzero().get());
    let open = [
        (Opening::Files, std::fs::File::open("/").is_ok()),
        (Opening::Modes, !is_denied(libc::SYS_chmod, [0; 3])),
        (Opening::Signals, !is_denied(libc::SYS_kill, [i64::from(parent), 0, 0])),
        (Opening::Sockets, !is_denied(libc::SYS_socket, [i64::from(libc::AF_UNIX), -1, -1])),
        (Opening::Programs, !is_denied(libc::SYS_execve, [0; 3])),
        (Opening::Privileges, !is_powerless()),
    ];
    let open = open.into_iter().filter(|(_, open)| *open).map(|(opening, _)| opening).collect();
    Confinement { landlock_abi: landlock_abi(), open }
}

fn is_denied(call: libc::c_long, [first, second, third]: [i64; 3]) -> bool {
    #[allow(unsafe_code, reason = "the point is to make calls that no library would")]
    // SAFETY: the pointers among the arguments are null, which the kernel answers with an error.
    let result = unsafe { libc::syscall(call, first, second, third) };
    result == -1 && std::io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}

fn is_powerless() -> bool {
    // Unknown is no: it is then not claimed.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    field("CapPrm:") == Some("0000000000000000") && field("NoNewPrivs:") == Some("1")
}

/// The kernel's version of landlock; 0 where it has none.
pub fn landlock_abi() -> u32 {
    const VERSION: libc::c_uint = 1;
    #[allow(unsafe_code, reason = "the crate for landlock keeps the number to itself")]
    // SAFETY: with this flag the call takes neither rules nor their size.
    let abi =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0_usize, VERSION) };
    u32::try_from(abi).unwrap_or_default()
}
