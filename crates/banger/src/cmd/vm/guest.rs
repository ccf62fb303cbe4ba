use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::time::{Duration, Instant};

use banger_api::stream::{ExecSpec, WindowSize};
use banger_api::vm::VmState;
use banger_api::{ApiError, ByteString, Client, ClientError, ErrorCode};
use clap::Args;

use crate::error::{CommandError, OUTPUT_CLOSED};
use crate::session::{Outcome, Session, Signals, window_size};
use crate::ui;

// How a command in a guest is run.
#[derive(Debug, Args)]
pub(crate) struct SessionArgs {
    /// Set an environment variable; K alone takes its value from here
    #[arg(long, short, value_name = "K=V")]
    pub(crate) env: Vec<OsString>,
    /// Directory to run in [default: the workspace, else the image's directory, else root's home]
    #[arg(long, short, value_name = "DIR")]
    pub(crate) workdir: Option<OsString>,
    /// Read stdin from the terminal; from files and pipes it is read anyway
    #[arg(long, short)]
    pub(crate) interactive: bool,
    /// Read no stdin at all, and leave it to others (in a `while read` loop, else the loop's lines are taken)
    #[arg(long, short, conflicts_with = "interactive")]
    pub(crate) no_stdin: bool,
    /// Give the command a terminal (a shell has one if we do)
    #[arg(long, short)]
    pub(crate) tty: bool,
    /// Give the shell no terminal
    #[arg(long, conflicts_with = "tty")]
    pub(crate) no_tty: bool,
}

impl SessionArgs {
    /// What to run; no command means a shell.
    ///
    /// # Errors
    ///
    /// When a variable has no name.
    pub(crate) fn session(self, command: Vec<OsString>) -> Result<Session, CommandError> {
        let terminal = std::io::stdin().is_terminal();
        let shell = command.is_empty();
        let tty = self.tty || (shell && !self.no_tty && terminal && std::io::stdout().is_terminal());
        let mut env = Vec::new();
        if tty {
            for name in ["TERM", "COLORTERM"] {
                env.extend(std::env::var_os(name).map(|value| (name.into(), value.into())));
            }
        }
        for setting in self.env {
            env.extend(variable(setting, |name| std::env::var_os(name))?);
        }
        let size = || window_size().unwrap_or(WindowSize { rows: 24, cols: 80 });
        let spec = ExecSpec {
            argv: command.into_iter().map(ByteString::from).collect(),
            env,
            workdir: self.workdir.map(ByteString::from),
            mise: false,
            ignore_image: false,
            tty: tty.then(size),
            merge_output: false,
        };
        let wanted = tty || shell || self.interactive || !terminal;
        Ok(Session { spec, stdin: wanted && !self.no_stdin, plain_stderr: false })
    }
}

type Variable = (ByteString, ByteString);

/// `K=V`, or `K` for what K is on this side; none when it is not set here.
fn variable(
    setting: OsString,
    here: impl Fn(&OsString) -> Option<OsString>,
) -> Result<Option<Variable>, CommandError> {
    let bytes = setting.as_bytes();
    let end = bytes.iter().position(|byte| *byte == b'=');
    if bytes.is_empty() || end == Some(0) {
        let message = format!("--env {} has no name before the `=`", setting.display());
        return Err(CommandError::usage(message)
            .with_hint("write --env NAME=VALUE, or --env NAME to pass on your own"));
    }
    Ok(match end {
        Some(end) => Some((bytes[..end].to_vec().into(), bytes[end + 1..].to_vec().into())),
        None => here(&setting).map(|value| (setting.into_vec().into(), value.into())),
    })
}

/// Runs a session in a running VM and answers the exit code of its command.
///
/// # Errors
///
/// When it could not be run, or its end is not known.
pub(crate) async fn run(
    client: &Client,
    vm: &str,
    session: Session,
    signals: &mut Signals,
) -> Result<u8, CommandError> {
    let program = session.spec.argv.first().map(|word| word.as_os_str().to_owned());
    let stream = match signals.unless_caught(client.vm_exec(vm)).await {
        Ok(stream) => stream?,
        Err(caught) => return Ok(caught.exit_code()),
    };
    match session.run(stream, signals).await {
        Ok(Outcome::Exited(exit)) => {
            if let Some(why) = exit.error {
                let what = match &program {
                    Some(program) => format!("`{}`", program.display()),
                    None => "a shell".into(),
                };
                let error = ApiError::new(ErrorCode::Failed, format!("could not run {what} in {vm}"));
                let error = error.because(why);
                ui::print_error(&match program {
                    Some(_) => error,
                    None => error.with_hint("name a program of the image's behind a `--`"),
                });
            }
            Ok(exit.code)
        }
        Ok(Outcome::OutputClosed) => Ok(OUTPUT_CLOSED),
        Ok(Outcome::Interrupted(caught)) => Ok(caught.exit_code()),
        Err(error) if error.is_local() => Err(ApiError::from_error(ErrorCode::Failed, &error).into()),
        Err(error) => Err(cut_off(client, vm, &error, "the VM stopped while the command ran").await.into()),
    }
}

/// How long a VM that takes its commands down with it may need to be seen stopped.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// A stream that broke most often did so because the VM, or the daemon, went away under it.
pub(super) async fn cut_off(
    client: &Client,
    vm: &str,
    error: &(dyn std::error::Error + Sync),
    stopped: &str,
) -> ApiError {
    let stopped = ApiError::new(ErrorCode::Failed, stopped);
    let api_error = ApiError::from_error(ErrorCode::Failed, error);
    let deadline = Instant::now() + STOP_LIMIT;
    loop {
        match client.vm(vm).await {
            Ok(vm) if vm.state == VmState::Running && Instant::now() < deadline => {}
            Ok(vm) if vm.state == VmState::Running => {
                return api_error
                    .with_hint(format!("see what the guest says: banger vm logs {}", vm.spec.name));
            }
            Ok(vm) => return stopped.because(vm.last_error.unwrap_or_else(|| format!("it is {}", vm.state))),
            Err(ClientError::Api(error)) if error.code == ErrorCode::NotFound => {
                return stopped.because(error.message);
            }
            Err(ClientError::NotRunning) => return api_error.because("bangerd is not running any more"),
            Err(_) => return api_error,
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(setting: &str) -> Option<(String, String)> {
        let text = |bytes: ByteString| bytes.into_os_string().into_string().unwrap();
        let here = |name: &OsString| (name == "HERE").then(|| "value".into());
        variable(setting.into(), here).unwrap().map(|(name, value)| (text(name), text(value)))
    }

    #[test]
    fn variables_come_from_the_line_or_from_here() {
        let owned = |name: &str, value: &str| Some((name.to_owned(), value.to_owned()));
        assert_eq!(pair("A=b=c"), owned("A", "b=c"));
        assert_eq!(pair("A="), owned("A", ""));
        assert_eq!(pair("HERE"), owned("HERE", "value"));
        assert_eq!(pair("NOWHERE"), None);
    }

    #[test]
    fn a_variable_without_a_name_is_refused() {
        for setting in ["", "=x", "="] {
            assert!(variable(setting.into(), |_| None).is_err(), "{setting:?}");
        }
    }
}
