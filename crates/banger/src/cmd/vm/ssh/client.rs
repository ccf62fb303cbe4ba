//! The system's OpenSSH client: its arguments, and how it ends.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

use banger_api::ErrorCode;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::error::CommandError;
use crate::session::{Caught, Signals};

/// Why ssh could not be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SshClientError {
    #[error("there is no ssh on PATH")]
    Missing,
    #[error("could not start ssh")]
    Start(#[source] io::Error),
}

impl From<SshClientError> for CommandError {
    fn from(error: SshClientError) -> Self {
        match error {
            SshClientError::Missing => Self::new(ErrorCode::HostNotReady, error.to_string()).with_hint(
                "install OpenSSH's client (sudo apt-get install openssh-client), or use `banger exec`",
            ),
            SshClientError::Start(source) => Self::io("could not start ssh", source),
        }
    }
}

/// A call of ssh.
#[derive(Clone, Debug, Default)]
pub(crate) struct SshClient {
    args: Vec<OsString>,
    quiet: bool,
}

impl SshClient {
    /// With the user's own configuration.
    pub(crate) fn of_user() -> Self {
        Self::default()
    }

    /// With banger's configuration, and neither the user's nor the system's.
    pub(super) fn with_config(file: &Path) -> Self {
        Self::default().arg("-F").arg(file)
    }

    pub(super) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// The first value of an option wins.
    pub(super) fn option(self, option: impl AsRef<OsStr>) -> Self {
        self.arg("-o").arg(option)
    }

    /// Lends the guest the agent of this shell. It has to be ssh's own for that, which is told to use no key
    /// but banger's all the same (`IdentitiesOnly`).
    pub(super) fn lend_agent(self) -> Self {
        self.option("ForwardAgent=yes").option("IdentityAgent=SSH_AUTH_SOCK")
    }

    /// It reads nothing and says nothing.
    pub(super) fn quiet(self) -> Self {
        Self { quiet: true, ..self }
    }

    /// Runs it to its end, with this process's own streams unless it is quiet.
    ///
    /// # Errors
    ///
    /// When it could not be started.
    pub(super) async fn run(&self, signals: &mut Signals) -> Result<ExitStatus, CommandError> {
        let child = self.command().spawn().map_err(start_error)?;
        let pid = Pid::from_child(&child);
        let mut ended = tokio::task::spawn_blocking(move || wait(child, pid));
        loop {
            let caught = tokio::select! {
                ended = &mut ended => {
                    let ended = ended.unwrap_or_else(|error| Err(io::Error::other(error)));
                    return ended.map_err(|error| CommandError::io("could not learn how ssh ended", error));
                }
                caught = signals.next() => caught,
            };
            let signal = match caught {
                // The terminal has sent it to ssh as well, which knows what to do.
                Caught::Int | Caught::Quit => continue,
                Caught::Hup => Signal::HUP,
                Caught::Term => Signal::TERM,
            };
            // It may have ended in this instant.
            let _gone = kill_process(pid, signal);
        }
    }

    /// By what ssh would reach a host, as it says itself; empty when it would open a connection.
    ///
    /// # Errors
    ///
    /// When it could not be started.
    pub(crate) fn proxy_command(self, host: &str) -> Result<String, SshClientError> {
        let output = self.arg("-G").arg("--").arg(host).command().stdin(Stdio::null()).output();
        let said = String::from_utf8_lossy(&output.map_err(start_error)?.stdout).into_owned();
        Ok(said.lines().find_map(|line| line.strip_prefix("proxycommand ")).unwrap_or_default().to_owned())
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "ssh gets this process's terminal and is waited for; banger-host's runner is for tools"
    )]
    fn command(&self) -> Command {
        let mut command = Command::new("ssh");
        command.args(&self.args);
        if self.quiet {
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        }
        command
    }
}

fn start_error(error: io::Error) -> SshClientError {
    if error.kind() == io::ErrorKind::NotFound {
        SshClientError::Missing
    } else {
        SshClientError::Start(error)
    }
}

/// Waits for ssh's end. When it stops (`~^Z`), so does this process: to the shell they are one job.
fn wait(mut child: Child, pid: Pid) -> io::Result<ExitStatus> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT;
    loop {
        let Ok(Some(status)) = waitid(WaitId::Pid(pid), options) else { return child.wait() };
        if !status.stopped() {
            return child.wait();
        }
        // Taken, so that it is not seen again.
        waitid(WaitId::Pid(pid), WaitIdOptions::STOPPED | WaitIdOptions::NOHANG)?;
        kill_process(rustix::process::getpid(), Signal::STOP)?;
        kill_process(pid, Signal::CONT)?;
    }
}

/// As a shell has it: 128+n for signal n.
pub(super) fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    u8::try_from(code).unwrap_or(u8::MAX)
}
