//! What starting a VMM has in common, whichever it is: its sandbox, its logs, its process.

use std::ffi::OsString;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::PathBuf;

use banger_api::vm::Acceleration;
use banger_host::process::{
    DetachedSpec, ProcessError, ProcessHandle, open_log, output_pipe, spawn_detached,
};
use banger_host::sandbox::VmmSandbox;

use super::{Access, Machine, VmmError};
use crate::paths::VmDir;

/// Starts VMMs: confined, with their logs kept.
#[derive(Clone, Debug)]
pub(super) struct Launcher {
    /// `bangerd` itself, which confines its process and then becomes the VMM, and which keeps its logs; none
    /// to start a VMM unconfined and have it write its logs itself.
    pub(super) program: Option<PathBuf>,
}

/// A VMM's command line.
pub(super) struct CommandLine {
    pub(super) program: PathBuf,
    pub(super) args: Vec<OsString>,
    /// Descriptors that it names by their numbers.
    pub(super) passed: Vec<OwnedFd>,
}

impl Launcher {
    /// Starts the process of a VM, and the one that keeps its logs. Its standard output is the guest's
    /// console.
    pub(super) fn launch(
        &self,
        command: CommandLine,
        machine: &Machine,
        dir: &VmDir,
    ) -> Result<(ProcessHandle, Option<ProcessHandle>), VmmError> {
        let (console, messages, log_keeper) = self.logs(dir).map_err(VmmError::Logs)?;
        let CommandLine { program, args, passed } = command;
        let (program, args) = self.confined(program, args, machine, dir)?;
        let process = spawn_detached(DetachedSpec {
            program,
            args,
            cwd: dir.path().into(),
            env: environment(),
            stdin: None,
            stdout: console,
            stderr: messages,
            passed,
        });
        Ok((process.map_err(VmmError::Spawn)?, log_keeper))
    }

    /// What the VMM writes its console and its messages to.
    fn logs(&self, dir: &VmDir) -> Result<(OwnedFd, OwnedFd, Option<ProcessHandle>), ProcessError> {
        let [console_log, vmm_log] = [VmDir::CONSOLE_LOG, VmDir::VMM_LOG].map(|name| dir.file(name));
        let Some(program) = &self.program else {
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

    /// The command line that starts the VMM with access to its own files only.
    fn confined(
        &self,
        vmm: PathBuf,
        args: Vec<OsString>,
        machine: &Machine,
        dir: &VmDir,
    ) -> Result<(PathBuf, Vec<OsString>), VmmError> {
        let Some(launcher) = &self.program else { return Ok((vmm, args)) };
        // Where the links lead: the sandbox knows files, not names.
        let target = |name| {
            let path = dir.file(name);
            path.canonicalize().map_err(|source| {
                // The link is there: it is what it leads to that is not.
                let path = path.read_link().unwrap_or(path);
                VmmError::SharedFile { path, source }
            })
        };
        let sandbox = VmmSandbox {
            vm_dir: dir.path().into(),
            read_only: machine.read_only_files().map(target).collect::<Result<_, _>>()?,
            read_write: machine.disks_with(Access::ReadWrite).map(|disk| dir.file(disk)).collect(),
            network: false,
            kvm: machine.acceleration == Acceleration::Kvm,
        };
        let sandbox = serde_json::to_string(&sandbox).map_err(VmmError::Sandbox)?;
        let words =
            ["vmm-launch".into(), "--sandbox".into(), sandbox.into(), "--".into(), vmm.into_os_string()];
        Ok((launcher.clone(), words.into_iter().chain(args).collect()))
    }
}

/// Nothing of the user's environment is any of a VMM's business.
fn environment() -> Vec<(OsString, OsString)> {
    vec![(OsString::from("PATH"), OsString::from("/usr/bin:/bin"))]
}

fn null() -> Result<OwnedFd, ProcessError> {
    open_log("/dev/null".as_ref())
}
