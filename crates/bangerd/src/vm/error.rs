use std::path::PathBuf;
use std::process::ExitStatus;

use banger_api::vm::{Pause, VmState};
use banger_gateway::policy::PolicyError;
use banger_host::files::FileError;
use banger_host::process::ProcessError;

use super::forward::ForwardError;
use super::state::State;
use crate::causes::on_one_line;
use crate::disk::DiskError;
use crate::file_sync::FileSyncError;
use crate::guest::GuestError;
use crate::identity::VmNameError;
use crate::image::ImageError;
use crate::kernel::KernelError;
use crate::network::NetworkError;
use crate::paths::PathsError;
use crate::record::RecordError;
use crate::store::StoreError;
use crate::vmm::{NoRoom, VmmError};
use crate::workspace::WorkspaceError;

/// Why something did not happen to a VM.
#[derive(Debug, thiserror::Error)]
pub enum VmError {
    #[error("{name:?} cannot be a VM's name")]
    Name { name: String, source: VmNameError },
    #[error("{what}")]
    Size { what: String, hint: String },
    #[error("there is no VM {reference:?}")]
    NotFound { reference: String, similar: Option<String> },
    #[error("{reference:?} could be any of: {}", candidates.join(", "))]
    Ambiguous { reference: String, candidates: Vec<String> },
    #[error("there is a VM named {name:?} already")]
    NameTaken { name: String },
    #[error("cannot {action} VM {name:?} while it is {}", state.to_api())]
    Denied { action: &'static str, name: String, state: State },
    #[error("VM {name:?} is not running (it is {state})")]
    NotRunning { name: String, state: VmState },
    #[error("VM {name:?} is paused: {pause}")]
    Paused { name: String, pause: Pause },
    #[error("the VM was paused before it had come up: {0}")]
    PausedWhileStarting(Pause),
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    #[error("it was called off")]
    Cancelled,
    /// A file or part without which the VM cannot start.
    #[error("VM {name:?} is broken: {why}")]
    Broken { name: String, why: String, hint: String },
    #[error("there is no {name:?} in lost+found")]
    NotLost { name: String },
    #[error("{} is taken by now", path.display())]
    PlaceTaken { path: PathBuf },
    #[error("what lies in {} does not say what it is", path.display())]
    NotRestorable { path: PathBuf },
    #[error("the VM does not say what its image is: {why}")]
    NeedsImage { why: String },
    #[error("{name:?} is no signal that a VM can be sent")]
    UnknownSignal { name: String },
    #[error("a repository can only be copied into a VM that is started")]
    WorkspaceWithoutStart,
    #[error("{egress:?} says what the VM may reach, and it is to have no network")]
    EgressWithoutNetwork { egress: String },
    #[error("VM {name:?} has no network")]
    NoNetwork { name: String },
    #[error(transparent)]
    Egress(#[from] PolicyError),
    #[error(transparent)]
    Network(#[from] NetworkError),
    #[error("a branch cannot be had with base_commit, check or apply")]
    BranchWithPatch,
    /// An earlier step should have made it.
    #[error("{0} was not made")]
    Unmade(&'static str),
    #[error("the work on the VM broke off: {0}")]
    Broke(String),
    #[error("VM {name:?} has no workspace")]
    NoWorkspace { name: String },
    #[error("the workspace of VM {name:?} was not prepared to its end")]
    IncompleteWorkspace { name: String },
    #[error("the workspace has changes that would be lost: {}", lost(named, *count, others))]
    WouldLoseChanges { count: usize, named: Vec<String>, others: Vec<String> },
    #[error("what has been changed in the workspace cannot be told")]
    UnknownChanges { source: WorkspaceError },

    #[error(transparent)]
    Record(#[from] RecordError),
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    Kernel(#[from] KernelError),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    FileSync(#[from] FileSyncError),
    #[error(transparent)]
    Home(#[from] PathsError),
    #[error(transparent)]
    Workspace(#[from] WorkspaceError),
    #[error(transparent)]
    Vmm(#[from] VmmError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("a file of the VM's could not be handled")]
    File(#[from] FileError),
    #[error("the VM's process could not be handled")]
    Process(#[from] ProcessError),

    /// The VMM ended before the agent said hello. `log` is the end of what it and the console said.
    #[error("the VM's process ended while it was booting{}{}", with(*status), tail(log))]
    BootDied { status: Option<ExitStatus>, log: String },
    #[error("the guest did not come up{}", tail(log))]
    NoHello { log: String, source: GuestError },
    #[error("the guest could not be configured")]
    Configure(#[source] GuestError),
    /// `what` names an entry of `[[file_sync]]` where it is known which one it was.
    #[error("{what} could not be copied into the guest")]
    FilesRefused { what: String, source: GuestError },
    #[error("the guest's agent could not do what it was asked to do")]
    Guest(#[from] GuestError),
    /// `guest` is the port that was to be reached.
    #[error("port {guest} of the VM cannot be forwarded")]
    Forward { guest: u16, source: ForwardError },
    #[error("the VM's process did not go away when it was killed")]
    Unkillable,
}

impl VmError {
    pub(crate) fn forward((source, guest): (ForwardError, u16)) -> Self {
        Self::Forward { guest, source }
    }

    /// The connection to the guest's agent went away.
    pub(super) fn is_lost_connection(&self) -> bool {
        match self {
            Self::Guest(error) | Self::Workspace(WorkspaceError::Guest(error)) => error.is_lost_connection(),
            _ => false,
        }
    }

    /// What is wrong with a broken VM, in words.
    pub(crate) fn why(&self) -> String {
        match self {
            Self::Broken { why, .. } => why.clone(),
            other => on_one_line(other),
        }
    }
}

fn with(status: Option<ExitStatus>) -> String {
    status.map(|status| format!(" ({status})")).unwrap_or_default()
}

fn tail(log: &str) -> String {
    if log.is_empty() { String::new() } else { format!("; its last words:\n{log}") }
}

/// Files, and what else there is.
fn lost(named: &[String], count: usize, others: &[String]) -> String {
    let files = Some(some(named, count)).filter(|files| !files.is_empty());
    files.into_iter().chain(others.iter().cloned()).collect::<Vec<_>>().join(", ")
}

fn some(named: &[String], count: usize) -> String {
    let rest = count - named.len().min(count);
    let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
    format!("{}{more}", named.join(", "))
}
