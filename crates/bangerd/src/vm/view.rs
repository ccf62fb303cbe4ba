use banger_api::vm::{Acceleration, Pause, Vm, VmState};
use banger_api::workspace::Workspace;
use banger_guest_protocol::flow::addresses;

use banger_host::process::ProcessHandle;

use super::VmError;
use super::forward::Forwards;
use super::spec::planned;
use super::state::State;
use crate::clock::unix_ms;
use crate::guest::Guest;
use crate::network::Gateway;
use crate::store::words::Network;
use crate::store::{StoredWorkspace, VmRow};
use crate::vmm::PauseWatch;

/// A VM as anybody may look at it at any time, whatever its actor is busy with.
#[derive(Clone)]
pub struct VmView {
    pub row: VmRow,
    pub state: State,
    /// There while the guest can be talked to.
    pub running: Option<RunningView>,
    /// Why it stopped, when nobody asked it to.
    pub last_error: Option<String>,
    /// Why it cannot be used at all, when something of it is missing.
    pub broken: Option<String>,
    pub workspace: Option<StoredWorkspace>,
}

/// What is true of a VM only while it runs.
#[derive(Clone)]
pub struct RunningView {
    pub process: ProcessHandle,
    pub acceleration: Acceleration,
    pub guest_init: Option<String>,
    pub started_at_unix_ms: u64,
    pub guest: Guest,
    pub pause_watch: PauseWatch,
    /// There where it has a network.
    pub gateway: Option<Gateway>,
    pub forwards: Forwards,
}

impl RunningView {
    /// Ends what goes with the guest, whoever else still looks at it.
    pub(super) fn end(self) {
        self.forwards.end();
    }
}

impl VmView {
    /// A VM of which nothing runs.
    pub(super) fn stopped(row: VmRow) -> Self {
        Self { row, state: State::Stopped, running: None, last_error: None, broken: None, workspace: None }
    }

    /// The state as clients see it.
    pub fn api_state(&self) -> VmState {
        if self.state == State::Stopped && self.broken.is_some() {
            VmState::Broken
        } else {
            self.pause().map_or(self.state.to_api(), |_| VmState::Paused)
        }
    }

    /// Why it stands still; none while it runs, or does not.
    pub fn pause(&self) -> Option<Pause> {
        self.running.as_ref().filter(|_| self.state == State::Running)?.pause_watch.pause()
    }

    /// The agent of a VM that runs, if it can answer now.
    ///
    /// # Errors
    ///
    /// When the VM does not run, or stands still.
    pub fn guest(&self) -> Result<Guest, VmError> {
        let name = || self.row.name.to_string();
        let running = self.running.as_ref();
        let running = running.ok_or_else(|| VmError::NotRunning { name: name(), state: self.api_state() })?;
        match self.pause() {
            Some(pause) => Err(VmError::Paused { name: name(), pause }),
            None => Ok(running.guest.clone()),
        }
    }

    /// The way from the host to the guest's ports.
    ///
    /// # Errors
    ///
    /// As [`Self::guest`].
    pub fn forwards(&self) -> Result<Forwards, VmError> {
        self.guest()?;
        let running = self.running.as_ref().map(|running| running.forwards.clone());
        running
            .ok_or_else(|| VmError::NotRunning { name: self.row.name.to_string(), state: self.api_state() })
    }

    /// The VM in the API's words.
    pub fn to_api(&self) -> Vm {
        let paused_because = self.pause();
        let running = self.running.as_ref();
        let spec = &self.row.spec;
        let address = (spec.network == Network::User).then(|| addresses::GUEST.to_string());
        Vm {
            id: self.row.id.to_string(),
            spec: planned(&self.row.name, spec),
            state: self.api_state(),
            paused_because,
            lifetime: spec.lifetime.into(),
            created_at_unix_ms: self.row.created_at_unix_ms,
            uptime_ms: running.map(|running| unix_ms().saturating_sub(running.started_at_unix_ms)),
            vmm_pid: running.and_then(|running| u32::try_from(running.process.identity().pid).ok()),
            acceleration: running.map(|running| running.acceleration),
            address: running.and(address),
            guest_init: running
                .map(|running| running.guest_init.clone().unwrap_or_else(|| "banger-agent".into())),
            disk_used_bytes: None,
            last_error: self.broken.clone().or_else(|| self.last_error.clone()),
            workspace: self.workspace.as_ref().map(workspace_to_api),
        }
    }
}

/// A workspace in the API's words.
fn workspace_to_api(workspace: &StoredWorkspace) -> Workspace {
    Workspace {
        guest_path: workspace.guest_path.clone(),
        host_path: workspace.host_path.clone(),
        inside: workspace.inside.clone(),
        mode: workspace.mode.into(),
        include_untracked: workspace.include_untracked,
        commit: workspace.commit.clone(),
        branch: workspace.branch.clone(),
        prepared_at_unix_ms: workspace.prepared_at_unix_ms,
        complete: workspace.complete,
    }
}
