//! QEMU's microvm machine: with KVM where that is usable, else pure emulation, which works everywhere.

mod args;
mod monitor;
mod qmp;

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::PathBuf;

use banger_guest_protocol::messages::DiskSelector;
use banger_host::command::find_program;
use banger_host::unix_socket::listen_in;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use self::args::{Listening, arguments};
use self::monitor::QemuMonitor;
use self::qmp::Qmp;
use super::launcher::{CommandLine, Launcher};
use super::{Launched, Limits, Machine, Monitor, MonitorError, Vmm, VmmError, VmmKind};
use crate::channel::AgentChannel;
use crate::paths::VmDir;

/// QEMU.
#[derive(Clone, Debug)]
pub struct Qemu {
    /// A name to look for on PATH, or a path.
    program: PathBuf,
    launcher: Launcher,
}

impl Qemu {
    /// `launcher` is `bangerd`, for its sandbox and its log keeper; without it QEMU runs unconfined.
    pub fn new(program: PathBuf, launcher: Option<PathBuf>) -> Self {
        Self { program, launcher: Launcher { program: launcher } }
    }

    fn start(&self, machine: &Machine, dir: &VmDir) -> Result<Launched, VmmError> {
        let program = self.find()?;
        let (agent, qmp) = (listen(dir, VmDir::AGENT_SOCKET)?, listen(dir, VmDir::QMP_SOCKET)?);
        let network = machine.has_gateway.then(|| listen(dir, VmDir::NETWORK_SOCKET)).transpose()?;
        let listening = Listening {
            agent: agent.as_raw_fd(),
            qmp: qmp.as_raw_fd(),
            network: network.as_ref().map(|network| network.as_raw_fd()),
        };
        let args = arguments(machine, listening);
        let command =
            CommandLine { program, args, passed: [agent, qmp].into_iter().chain(network).collect() };
        let (process, log_keeper) = self.launcher.launch(command, machine, dir)?;
        let selector = |role: super::DiskRole| (role, DiskSelector::Serial(role.name().into()));
        let disks = machine.disks.iter().map(|disk| selector(disk.role)).collect();
        Ok(Launched { process, log_keeper, disks })
    }
}

/// So that the sockets are there before QEMU is.
fn listen(dir: &VmDir, name: &str) -> Result<OwnedFd, VmmError> {
    listen_in(dir.path(), name).map_err(|source| VmmError::Listen { path: dir.file(name), source })
}

impl Vmm for Qemu {
    fn kind(&self) -> VmmKind {
        VmmKind::Qemu
    }

    fn find(&self) -> Result<PathBuf, VmmError> {
        let missing = |source| VmmError::Missing { vmm: "QEMU", package: "qemu-system-x86", source };
        find_program(&self.program.to_string_lossy()).map_err(missing)
    }

    /// microvm's firmware tables grow with the vCPUs: with 64 they no longer fit behind the initramfs
    /// (docs/decisions/0007).
    fn limits(&self) -> Limits {
        Limits { vcpus_max: 32 }
    }

    fn channel(&self) -> AgentChannel {
        AgentChannel::Serial { socket: VmDir::AGENT_SOCKET }
    }

    fn launch<'a>(
        &'a self,
        machine: &'a Machine,
        dir: &'a VmDir,
    ) -> BoxFuture<'a, Result<Launched, VmmError>> {
        async { self.start(machine, dir) }.boxed()
    }

    fn attach<'a>(&'a self, dir: &'a VmDir) -> BoxFuture<'a, Result<Box<dyn Monitor>, MonitorError>> {
        async {
            let qmp = Qmp::connect(dir.path()).await?;
            Ok(Box::new(QemuMonitor { qmp, dir: dir.path().into() }) as Box<dyn Monitor>)
        }
        .boxed()
    }
}
