use std::io;
use std::path::PathBuf;

use banger_host::command::CommandError;
use banger_host::process::ProcessError;

/// Why a VMM did not start.
#[derive(Debug, thiserror::Error)]
pub enum VmmError {
    #[error("this bangerd knows no VMM {name:?}")]
    Unknown { name: String },
    /// `package` has it, on Debian.
    #[error("there is no {vmm} to run the VM with")]
    Missing { vmm: &'static str, package: &'static str, source: CommandError },
    #[error("could not put the VMM's sandbox into words")]
    Sandbox(#[source] serde_json::Error),
    #[error("{} cannot be given to the VMM", path.display())]
    SharedFile { path: PathBuf, source: io::Error },
    #[error("could not start the VMM")]
    Spawn(#[source] ProcessError),
    #[error("could not listen on {} for the VMM", path.display())]
    Listen { path: PathBuf, source: io::Error },
    #[error("could not start the process that keeps the VM's logs")]
    Logs(#[source] ProcessError),
}

/// Why a VMM's monitor is of no use.
#[derive(Debug, thiserror::Error)]
pub enum MonitorError {
    /// It runs without one: an earlier banger started it.
    #[error("the VMM has no monitor")]
    None,
    #[error("could not connect to the VMM's monitor")]
    Connect(#[source] io::Error),
    #[error("the connection to the VMM's monitor broke")]
    Broken(#[source] io::Error),
    #[error("the VMM's monitor closed")]
    Closed,
    #[error("the VMM's monitor said something unintelligible")]
    Unintelligible,
    #[error("the VMM's monitor did not answer {command} within {limit_s} s")]
    Timeout { command: &'static str, limit_s: u64 },
    #[error("the VMM refused {command}: {said}")]
    Refused { command: &'static str, said: String },
}
