use std::ffi::OsString;
use std::path::PathBuf;

use banger_api::vm::{Acceleration, NetworkMode};
use banger_host::command::{CommandError, find_program};
use banger_host::process::{DetachedSpec, ProcessError, ProcessHandle};
use banger_host::sandbox::VmmSandbox;

use super::args::{arguments, marker};
use crate::identity::VmId;
use crate::paths::VmDir;
use crate::vmm::BootSpec;

/// Why QEMU did not start.
#[derive(Debug, thiserror::Error)]
pub enum QemuError {
    #[error("there is no QEMU to run the VM with")]
    Missing(#[source] CommandError),
    #[error("could not start QEMU")]
    Spawn(#[source] ProcessError),
}

/// Starts QEMU processes.
#[derive(Clone, Debug)]
pub struct Qemu {
    /// A name to look for on PATH, or a path.
    program: PathBuf,
    /// `bangerd` itself, which confines its process and then becomes QEMU; none to start QEMU unconfined.
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

    /// Starts a VM's process. It outlives the daemon.
    ///
    /// # Errors
    ///
    /// When QEMU is not installed or cannot be executed. What it complains about afterwards is in the VM's `vmm.log`.
    pub fn spawn(&self, spec: &BootSpec, dir: &VmDir) -> Result<ProcessHandle, QemuError> {
        let (program, args) = self.confined(self.find()?, spec, dir);
        let detached = DetachedSpec {
            program,
            args,
            cwd: dir.path().into(),
            // Nothing of the user's environment is any of QEMU's business.
            env: vec![(OsString::from("PATH"), OsString::from("/usr/bin:/bin"))],
            stdout: dir.file(VmDir::VMM_LOG),
            stderr: dir.file(VmDir::VMM_LOG),
        };
        banger_host::process::spawn_detached(&detached).map_err(QemuError::Spawn)
    }

    /// The command line that starts QEMU with access to its own files only.
    fn confined(&self, qemu: PathBuf, spec: &BootSpec, dir: &VmDir) -> (PathBuf, Vec<OsString>) {
        let Some(launcher) = &self.launcher else { return (qemu, arguments(spec)) };
        let files = [&spec.vmlinux, &spec.initramfs, &spec.image, &spec.modules];
        let sandbox = VmmSandbox {
            vm_dir: dir.path().into(),
            read_only: files.into_iter().cloned().collect(),
            read_write: [VmDir::COW, VmDir::WORK].map(|disk| dir.file(disk)).into(),
            logs: vec![dir.file(VmDir::CONSOLE_LOG)],
            unix_sockets: true,
            network: spec.network == NetworkMode::User,
            kvm: spec.acceleration == Acceleration::Kvm,
        };
        let sandbox = serde_json::to_string(&sandbox).unwrap_or_default();
        let words =
            ["vmm-launch".into(), "--sandbox".into(), sandbox.into(), "--".into(), qemu.into_os_string()];
        (launcher.clone(), words.into_iter().chain(arguments(spec)).collect())
    }

    /// What marks a process as the VMM of VM `id`.
    pub fn marker(id: &VmId) -> String {
        marker(id)
    }
}
