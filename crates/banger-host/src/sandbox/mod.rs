//! What a VMM may do, held by the kernel (docs/decisions/0018-the-vmms-sandbox.md).
//!
//! Applied in a process of its own (`bangerd vmm-launch`) that then becomes the VMM, because all of it is for
//! good and there must be no work between fork and exec in the daemon. Whoever gets hold of the VMM has no
//! more than what is left here:
//!
//! | | |
//! |---|---|
//! | `process` | no capabilities, no core dumps, default signals: what a process brings along |
//! | `files` | landlock: which files, and nothing outside to signal or to connect to, where the kernel knows of that |
//! | `calls` | seccomp: no system call that acts on more than this process and its files (`denied` has the list) |
//!
//! [`gateway`] is the same for the process that speaks to the network for a VM.
//! [`inspect`] finds out what of it holds on this host, [`peer`] tells whether a process is a VMM.

mod calls;
mod denied;
mod files;
pub mod gateway;
pub mod inspect;
pub mod peer;
mod process;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use landlock::RulesetError;
use serde::{Deserialize, Serialize};

use calls::ExecKey;

/// Why a VMM could not be started within bounds.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    #[error("could not open {} for the sandbox", path.display())]
    Path { path: PathBuf, source: landlock::PathFdError },
    #[error("could not confine this process to its files")]
    Landlock(#[from] RulesetError),
    #[error("could not put together the filter for system calls")]
    Rules(#[from] seccompiler::BackendError),
    #[error("could not filter this process's system calls")]
    Seccomp(#[from] seccompiler::Error),
    #[error("could not {action}")]
    Process { action: &'static str, source: io::Error },
    #[error(
        "{} is a script: in the sandbox it could not start the VMM; name the VMM's own program", program.display()
    )]
    Script { program: PathBuf },
    #[error("could not execute {}", program.display())]
    Exec { program: PathBuf, source: io::Error },
}

/// What a VMM needs besides the system's libraries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmmSandbox {
    /// Its own directory. Nothing in it may be touched but what is named below; its sockets and logs are
    /// handed to it.
    #[serde(with = "crate::path_bytes")]
    pub vm_dir: PathBuf,
    /// Files to read: image, kernel, initramfs, modules.
    #[serde(with = "crate::path_bytes::list")]
    pub read_only: Vec<PathBuf>,
    /// Files to write as well: its disks. They must be there.
    #[serde(with = "crate::path_bytes::list")]
    pub read_write: Vec<PathBuf>,
    /// It may connect to the network. No VMM does any more: a guest's network is its gateway's affair.
    pub network: bool,
    /// It may use `/dev/kvm`.
    pub kvm: bool,
}

/// How much of the rules about files the kernel enforces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SandboxStatus {
    Full,
    /// An older kernel that knows some of the rules.
    Partial,
    /// No landlock in this kernel.
    Unsupported,
}

/// Confines this process and makes it `program`. Returns only when that failed. The process keeps its pid and
/// start time. To be called while it has one thread.
pub fn launch(sandbox: &VmmSandbox, program: &Path, args: &[OsString]) -> SandboxError {
    match confine(sandbox, program) {
        Ok(key) => {
            SandboxError::Exec { program: program.to_owned(), source: calls::exec(program, args, &key) }
        }
        Err(error) => error,
    }
}

/// Everything but the last step, which takes the key.
fn confine(sandbox: &VmmSandbox, program: &Path) -> Result<ExecKey, SandboxError> {
    look_at(program)?;
    process::shed(sandbox)?;
    files::restrict_self(sandbox, program)?;
    process::drop_capabilities()?;
    let key = ExecKey::random()?;
    calls::restrict_self(sandbox, &key)?;
    Ok(key)
}

/// The interpreter of a script would have to start the VMM, and nothing in the sandbox starts anything.
fn look_at(program: &Path) -> Result<(), SandboxError> {
    let missing = |source| SandboxError::Exec { program: program.to_owned(), source };
    std::fs::metadata(program).map_err(missing)?;
    let mut start = [0; 2];
    let read = std::fs::File::open(program).and_then(|mut file| file.read_exact(&mut start));
    // One that cannot be read may be executed all the same.
    match read {
        Ok(()) if start == *b"#!" => Err(SandboxError::Script { program: program.to_owned() }),
        _ => Ok(()),
    }
}
