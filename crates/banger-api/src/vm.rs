//! Virtual machines.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::ports::PortForward;
use crate::workspace::{PrepareWorkspace, Workspace};

/// Where a VM is in its life. `bangerd`'s `vm` module has the diagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum VmState {
    /// Being made; its disks do not all exist yet.
    Creating,
    Stopped,
    Starting,
    Running,
    /// It is up and stands still; [`Vm::paused_because`] says why.
    Paused,
    Stopping,
    Deleting,
    /// Something of it is missing or cannot be read; `last_error` says what.
    Broken,
}

impl std::fmt::Display for VmState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Creating => "creating",
            Self::Stopped => "stopped",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopping => "stopping",
            Self::Deleting => "deleting",
            Self::Broken => "broken",
        })
    }
}

/// Why a VM stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pause {
    /// A write of the guest's found no room. It goes on by itself when there is some.
    HostDiskFull,
    /// The host's disk refused a write of the guest's; tried again every half minute.
    HostDiskError,
    /// The VMM met what it cannot handle.
    VmmFailure,
    /// Somebody told the VMM to stop it.
    Monitor,
}

impl std::fmt::Display for Pause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::HostDiskFull => "host disk full",
            Self::HostDiskError => "host disk error",
            Self::VmmFailure => "the VMM failed",
            Self::Monitor => "stopped through its monitor",
        })
    }
}

/// How long a VM is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Lifetime {
    /// Until somebody deletes it.
    #[default]
    Kept,
    /// Deleted as soon as it stops, whatever stopped it.
    UntilStopped,
    /// As long as the connection that asked for it; deleted when it stops, too.
    Leased,
}

/// The virtual machine monitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum VmmKind {
    Qemu,
}

impl std::fmt::Display for VmmKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Qemu => "qemu",
        })
    }
}

/// What executes the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Acceleration {
    Kvm,
    /// Emulation: works everywhere, an order of magnitude slower.
    Tcg,
}

impl std::fmt::Display for Acceleration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        })
    }
}

/// How a VM is connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NetworkMode {
    /// Through a gateway on the host; needs no privilege.
    #[default]
    User,
    /// No network interface.
    None,
}

/// Who becomes PID 1 in the guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum InitChoice {
    /// The image's own init when it has one, else the agent.
    #[default]
    Auto,
    Agent,
}

/// What a VM is made of: fixed at creation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VmSpec {
    pub name: String,
    pub image: String,
    pub kernel: String,
    pub vcpu: u32,
    pub memory_mib: u64,
    /// Size of `/root`, the VM's work disk.
    pub disk_mib: u64,
    pub vmm: VmmKind,
    pub network: NetworkMode,
    /// What it may reach: the entries of its egress policy.
    pub egress: Vec<String>,
    pub init: InitChoice,
    /// Ports of the host that lead to ports of the guest while it runs.
    #[serde(default)]
    pub publish: Vec<PortForward>,
    /// Every TCP port that the guest listens on can be reached at the VM's own loopback address.
    #[serde(default)]
    pub auto_forward: bool,
}

/// One VM as `show` and `list` have it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Vm {
    /// 12 hexadecimal digits.
    pub id: String,
    #[serde(flatten)]
    pub spec: VmSpec,
    pub state: VmState,
    pub paused_because: Option<Pause>,
    pub lifetime: Lifetime,
    /// Milliseconds since the Unix epoch.
    pub created_at_unix_ms: u64,
    /// How long it has been running; none unless it does.
    pub uptime_ms: Option<u64>,
    /// Process id of its VMM while it has one.
    pub vmm_pid: Option<u32>,
    pub acceleration: Option<Acceleration>,
    /// The guest's address in its network.
    pub address: Option<String>,
    /// PID 1 of the guest: the image's init, or `banger-agent`.
    pub guest_init: Option<String>,
    /// Bytes that its disks take on the host now; only `show` fills it in.
    pub disk_used_bytes: Option<u64>,
    /// Why it stopped, when nobody asked it to.
    pub last_error: Option<String>,
    /// Its copy of a repository.
    pub workspace: Option<Workspace>,
}

impl Vm {
    /// Its state in words: `paused: host disk full`.
    pub fn state_in_words(&self) -> String {
        match self.paused_because {
            Some(pause) => format!("{}: {pause}", self.state),
            None => self.state.to_string(),
        }
    }
}

/// Asks for a VM. What is absent comes from the configuration, then from the host's size.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateVm {
    /// A DNS label; a friendly one is made up when absent.
    pub name: Option<String>,
    pub image: Option<String>,
    pub kernel: Option<String>,
    pub vcpu: Option<u32>,
    pub memory_mib: Option<u64>,
    pub disk_mib: Option<u64>,
    pub network: Option<NetworkMode>,
    /// What it may reach (docs/network.md): entries of an egress policy, several in one text between commas.
    pub egress: Option<Vec<String>>,
    pub vmm: Option<VmmKind>,
    #[serde(default)]
    pub init: InitChoice,
    #[serde(default)]
    pub lifetime: Lifetime,
    /// Ports of the host that lead to ports of the guest, whenever it runs.
    #[serde(default)]
    pub publish: Vec<PortForward>,
    /// Forward every TCP port that the guest listens on, whenever it runs.
    #[serde(default)]
    pub auto_forward: bool,
    /// Start it as well; the operation then ends when commands can run in it.
    #[serde(default)]
    pub start: bool,
    /// Copy a repository into it as well, once it has started.
    pub workspace: Option<PrepareWorkspace>,
}

/// How to stop a VM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StopVm {
    /// How long the guest may take to shut down before it is killed, in milliseconds.
    #[serde(default = "StopVm::default_timeout_ms")]
    pub timeout_ms: u64,
}

impl StopVm {
    fn default_timeout_ms() -> u64 {
        20_000
    }
}

impl Default for StopVm {
    fn default() -> Self {
        Self { timeout_ms: Self::default_timeout_ms() }
    }
}

/// How a stop went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Stopped {
    pub vm: Vm,
    /// The guest did not shut down in time (or could not be asked) and was killed.
    pub killed: bool,
}

/// Sends a signal to a VM's VMM process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KillVm {
    /// Name without `SIG`; KILL when absent.
    pub signal: Option<String>,
}

/// How to delete a VM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct DeleteVm {
    /// Kill it when it runs, instead of shutting it down first.
    #[serde(default)]
    pub force: bool,
}

/// Which VMs to list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct ListVms {
    /// Stopped ones, too.
    #[serde(default)]
    pub all: bool,
}

/// What the agent of a running VM answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VmHealth {
    /// From request to answer, in microseconds.
    pub round_trip_us: u64,
    pub agent_build: String,
    pub kernel_release: String,
    /// Since the guest's kernel started, in milliseconds.
    pub uptime_ms: u64,
    /// Commands that run over the agent now.
    pub exec_sessions: u32,
}

/// Which log, and whether to stay with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub struct VmLogs {
    #[serde(default)]
    pub source: LogSource,
    /// Go on with what is appended, until the client hangs up.
    #[serde(default)]
    pub follow: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogSource {
    /// The guest's serial console.
    #[default]
    Console,
    /// What the VMM process itself wrote.
    Vmm,
}
