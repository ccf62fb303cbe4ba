use std::ffi::OsString;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::PathBuf;

use banger_api::vm::{Acceleration, NetworkMode};
use banger_host::command::{CommandError, find_program};
use banger_host::process::{
    DetachedSpec, ProcessError, ProcessHandle, open_log, output_pipe, spawn_detached,
};
use banger_host::sandbox::VmmSandbox;
use banger_host::unix_socket::listen_in;

use super::args::{Listening, arguments, marker};
use crate::identity::VmId;
use crate::paths::VmDir;
use crate::vmm::BootSpec;

/// Why QEMU did not start.
#[derive(Debug, thiserror::Error)]
pub enum QemuError {
    #[error("there is no QEMU to run the VM with")]
    Missing(#[source] CommandError),
    #[error("could not put QEMU's sandbox into words")]
    Sandbox(#[source] serde_json::Error),
    #[error("could not start QEMU")]
    Spawn(#[source] ProcessError),
    #[error("could not listen on {} for QEMU", path.display())]
    Listen { path: PathBuf, source: io::Error },
    #[error("could not start the process that keeps the VM's logs")]
    Logs(#[source] ProcessError),
}

/// A VM's process, and the one that writes down what it says.
pub struct Spawned {
    pub process: ProcessHandle,
    /// It ends a moment after the other, when all is written. None where QEMU writes the files itself.
    pub log_keeper: Option<ProcessHandle>,
}

/// Starts QEMU processes.
#[derive(Clone, Debug)]
pub struct Qemu {
    /// A name to look for on PATH, or a path.
    program: PathBuf,
    /// `bangerd` itself, which confines its process and then becomes QEMU, and which keeps its logs; none to start QEMU
    /// unconfined and have it write its logs itself.
    launcher: Option<PathBuf>,
}

impl Qemu {
    pub fn new(program: PathBuf, launcher: Option<PathBuf>) -> Self {
        Self { program, launcher }
    }

    /// Where the binary is.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn find(&self) -> Result<PathBuf, QemuError> {
        find_program(&self.program.to_string_lossy()).map_err(QemuError::Missing)
    }

    /// Starts a VM's process. It outlives the daemon. Its sockets are there when this returns: whoever connects is taken on
    /// when QEMU has come up, or hung up on when it never does.
    ///
    /// # Errors
    ///
    /// When QEMU is not installed or cannot be executed. What it complains about afterwards is in the VM's `vmm.log`.
    pub fn spawn(&self, spec: &BootSpec, dir: &VmDir) -> Result<Spawned, QemuError> {
        let qemu = self.find()?;
        let listen = |name| {
            listen_in(dir.path(), name).map_err(|source| QemuError::Listen { path: dir.file(name), source })
        };
        let (agent, qmp) = (listen(VmDir::AGENT_SOCKET)?, listen(VmDir::QMP_SOCKET)?);
        let listening = Listening { agent: agent.as_raw_fd(), qmp: qmp.as_raw_fd() };
        let (console, messages, log_keeper) = self.logs(dir).map_err(QemuError::Logs)?;
        let (program, args) = self.confined(qemu, spec, listening, dir)?;
        let process = spawn_detached(DetachedSpec {
            program,
            args,
            cwd: dir.path().into(),
            env: environment(),
            stdin: None,
            stdout: console,
            stderr: messages,
            passed: vec![agent, qmp],
        });
        Ok(Spawned { process: process.map_err(QemuError::Spawn)?, log_keeper })
    }

    /// What QEMU writes its console and its messages to.
    fn logs(&self, dir: &VmDir) -> Result<(OwnedFd, OwnedFd, Option<ProcessHandle>), ProcessError> {
        let [console_log, vmm_log] = [VmDir::CONSOLE_LOG, VmDir::VMM_LOG].map(|name| dir.file(name));
        let Some(program) = &self.launcher else {
            return Ok((open_log(&console_log)?, open_log(&vmm_log)?, None));
        };
        let ((console, to_console), (messages, to_messages)) = (output_pipe()?, output_pipe()?);
        let mut args: Vec<OsString> = vec!["vmm-log".into(), "--dir".into(), dir.path().into()];
        for (pipe, name) in [(&console, VmDir::CONSOLE_LOG), (&messages, VmDir::VMM_LOG)] {
            args.extend(["--log".into(), format!("{}:{name}", pipe.as_raw_fd()).into()]);
        }
        let keeper = spawn_detached(DetachedSpec {
            program: program.clone(),
            args,
            // Not the VM's directory: what runs there is a VMM.
            cwd: "/".into(),
            env: environment(),
            stdin: None,
            stdout: null()?,
            stderr: null()?,
            passed: vec![console, messages],
        })?;
        Ok((to_console, to_messages, Some(keeper)))
    }

    /// The command line that starts QEMU with access to its own files only.
    fn confined(
        &self,
        qemu: PathBuf,
        spec: &BootSpec,
        listening: Listening,
        dir: &VmDir,
    ) -> Result<(PathBuf, Vec<OsString>), QemuError> {
        let arguments = arguments(spec, listening);
        let Some(launcher) = &self.launcher else { return Ok((qemu, arguments)) };
        let files = [&spec.vmlinux, &spec.initramfs, &spec.image, &spec.modules];
        let sandbox = VmmSandbox {
            vm_dir: dir.path().into(),
            read_only: files.into_iter().cloned().collect(),
            read_write: [VmDir::COW, VmDir::WORK].map(|disk| dir.file(disk)).into(),
            network: spec.network == NetworkMode::User,
            kvm: spec.acceleration == Acceleration::Kvm,
        };
        let sandbox = serde_json::to_string(&sandbox).map_err(QemuError::Sandbox)?;
        let words =
            ["vmm-launch".into(), "--sandbox".into(), sandbox.into(), "--".into(), qemu.into_os_string()];
        Ok((launcher.clone(), words.into_iter().chain(arguments).collect()))
    }

    /// What marks a process as the VMM of VM `id`.
    pub fn marker(id: &VmId) -> String {
        marker(id)
    }
}

/// Nothing of the user's environment is any of QEMU's business.
fn environment() -> Vec<(OsString, OsString)> {
    vec![(OsString::from("PATH"), OsString::from("/usr/bin:/bin"))]
}

fn null() -> Result<OwnedFd, ProcessError> {
    open_log("/dev/null".as_ref())
}
