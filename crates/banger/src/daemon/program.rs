use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};

use banger_api::environment::is_kept_by_daemon;
use banger_api::{ApiError, ErrorCode};
use serde::de::DeserializeOwned;

const NAME: &str = "bangerd";

/// Why the daemon's program did not do what it was started for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProgramError {
    #[error("bangerd was found neither beside {} nor in PATH", banger.display())]
    Missing { banger: PathBuf },
    #[error("could not start {}", program.display())]
    Spawn { program: PathBuf, source: std::io::Error },
    #[error("could not read what `bangerd {args}` printed")]
    Answer { args: String, source: serde_json::Error },
    #[error("could not make a file for bangerd's messages")]
    Messages(#[source] std::io::Error),
    /// Its own words.
    #[error(transparent)]
    Reported(ApiError),
}

/// Runs `bangerd ARGS` to its end and reads the JSON document it prints. Needs no running daemon.
///
/// # Errors
///
/// What bangerd said when it printed no such document.
pub(crate) fn ask<T: DeserializeOwned>(args: &[&str]) -> Result<T, ProgramError> {
    let program = find()?;
    let output = command(&program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .map_err(|source| ProgramError::Spawn { program, source })?;
    // A doctor that found something to complain about may well exit with an error code; its report counts.
    serde_json::from_slice(&output.stdout).map_err(|source| {
        let args = args.join(" ");
        if output.status.success() {
            ProgramError::Answer { args, source }
        } else {
            let failed = format!("`bangerd {args}` did not work");
            ProgramError::Reported(reported(&failed, &output.stderr, output.status))
        }
    })
}

/// A daemon on its way up.
pub(super) struct Starting {
    child: Child,
    messages: File,
}

/// Starts `bangerd serve` in a session of its own, so that neither Ctrl-C nor a closed terminal reaches it.
///
/// # Errors
///
/// When there is no such program, or it cannot be executed.
pub(super) fn serve() -> Result<Starting, ProgramError> {
    let program = find()?;
    // In memory, and gone with the daemon: its log has a file of its own, this is for what it says before
    // that is open.
    let messages = rustix::fs::memfd_create("bangerd-stderr", rustix::fs::MemfdFlags::CLOEXEC)
        .map(File::from)
        .map_err(|errno| ProgramError::Messages(errno.into()))?;
    let stderr = messages.try_clone().map_err(ProgramError::Messages)?;
    let mut command = command(&program);
    // It would drop the rest by itself, and start once more for that.
    let kept = std::env::vars_os().filter(|(name, _)| is_kept_by_daemon(name));
    command.env_clear().envs(kept);
    command.arg("serve").current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
    leave_session(&mut command);
    let child = command.spawn().map_err(|source| ProgramError::Spawn { program, source })?;
    Ok(Starting { child, messages })
}

impl Starting {
    /// How it ended, when it has.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// What it had to say for itself.
    pub(super) fn report(mut self, status: ExitStatus) -> ApiError {
        let mut text = Vec::new();
        // What cannot be read back is left out; the exit status is still told.
        let _ = self.messages.rewind().and_then(|()| self.messages.read_to_end(&mut text));
        reported("bangerd could not start", &text, status)
    }
}

/// bangerd tells why it failed as one line of JSON, an [`ApiError`]; whatever else it wrote is passed on as
/// it is.
fn reported(failed: &str, stderr: &[u8], status: ExitStatus) -> ApiError {
    let text = String::from_utf8_lossy(stderr);
    let text = text.trim();
    if let Some(error) = text.lines().last().and_then(|line| serde_json::from_str(line).ok()) {
        return error;
    }
    let error = ApiError::new(ErrorCode::Failed, failed);
    let cause = text.strip_prefix("error:").unwrap_or(text).trim();
    if cause.is_empty() { error.because(format!("it ended with {status}")) } else { error.because(cause) }
}

/// Beside banger (links resolved), else in PATH.
fn find() -> Result<PathBuf, ProgramError> {
    let banger = std::env::current_exe().unwrap_or_else(|_| "banger".into());
    let beside = banger.with_file_name(NAME);
    if beside.is_file() {
        return Ok(beside);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|dir| dir.join(NAME))
        .find(|candidate| candidate.is_file())
        .ok_or(ProgramError::Missing { banger })
}

#[allow(
    clippy::disallowed_methods,
    reason = "the one program the CLI starts; it has no use for the rest of banger-host"
)]
fn command(program: &PathBuf) -> Command {
    Command::new(program)
}

#[allow(unsafe_code, reason = "the standard library has no stable way to start a program in a new session")]
fn leave_session(command: &mut Command) {
    let setsid = || rustix::process::setsid().map(drop).map_err(std::io::Error::from);
    // SAFETY: between fork and exec the closure makes one system call and allocates nothing.
    unsafe { command.pre_exec(setsid) };
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    #[test]
    fn bangerds_own_error_is_taken_as_it_is() {
        let error = ApiError::new(ErrorCode::Usage, "config.toml:2:8: unknown key").with_hint("remove it");
        let stderr = format!("some warning\n{}\n", serde_json::to_string(&error).unwrap());
        assert_eq!(
            reported("bangerd could not start", stderr.as_bytes(), ExitStatus::from_raw(0x200)),
            error
        );
    }

    #[test]
    fn other_words_are_passed_on_and_silence_names_the_status() {
        let error = reported("bangerd could not start", b"error: no space\n", ExitStatus::from_raw(0x100));
        assert_eq!((error.message.as_str(), &error.causes[0][..]), ("bangerd could not start", "no space"));
        let error = reported("bangerd could not start", b"", ExitStatus::from_raw(9));
        assert_eq!(error.causes, ["it ended with signal: 9 (SIGKILL)"]);
    }
}
