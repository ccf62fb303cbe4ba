//! The one place that runs foreground tools.
//!
//! A tool runs in its own process group. The group is killed when the caller loses interest (drops the
//! future), and the tool itself when the daemon dies, however it dies. Tools that fork and must not leave
//! children behind after a SIGKILL of the daemon need a PID namespace on top (see [`crate::debian`]).

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rustix::fs::Mode;
use rustix::process::{Pid, PidfdFlags, Resource, Rlimit, Signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin};
use tokio::sync::mpsc;

use crate::tool_output::{Captured, LineCallback, pump};

pub use crate::programs::{find_program, package_of};
pub use crate::tool_output::OutputStream;

/// How much of stderr an error shows, in lines.
const ERROR_LINES: usize = 12;

/// Largest piece of output that is passed on, in bytes.
const PIECE_LEN: usize = 64 * 1024;

/// How long output may still come after a tool has ended.
const AFTER_EXIT: Duration = Duration::from_secs(1);

/// Why a tool did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error("{program} is not installed{}", package.map(|name| format!(" (Debian package {name})")).unwrap_or_default())]
    NotFound { program: String, package: Option<&'static str> },
    #[error("could not start `{argv}`")]
    Spawn { argv: String, source: io::Error },
    #[error("`{argv}` failed ({status}){}", with_colon(stderr))]
    Failed { argv: String, status: ExitStatus, stderr: String },
    #[error("lost contact with `{argv}`")]
    Io { argv: String, source: io::Error },
}

fn with_colon(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

/// What a tool said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// Exit code: one of the codes that count as success.
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

/// What a tool reads.
#[derive(Clone, Debug)]
enum Input {
    Bytes(Vec<u8>),
    File(Arc<File>),
}

/// A tool to run: program, arguments, environment, input.
#[derive(Clone, Debug)]
pub struct Command {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, Option<OsString>)>,
    cwd: Option<PathBuf>,
    stdin: Option<Input>,
    umask: Option<u32>,
    memory_bytes: Option<u64>,
    ok_codes: &'static [i32],
}

impl Command {
    /// `program` is a path, or a name for [`find_program`].
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            // The tools' messages end up in errors: one language for all.
            env: vec![("LC_ALL".into(), Some("C.UTF-8".into()))],
            cwd: None,
            stdin: None,
            umask: None,
            memory_bytes: None,
            ok_codes: &[0],
        }
    }

    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Adds to (and wins over) the daemon's own environment.
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((key.as_ref().to_owned(), Some(value.as_ref().to_owned())));
        self
    }

    pub fn env_remove(mut self, key: impl AsRef<OsStr>) -> Self {
        self.env.push((key.as_ref().to_owned(), None));
        self
    }

    pub fn cwd(mut self, dir: impl AsRef<Path>) -> Self {
        self.cwd = Some(dir.as_ref().to_owned());
        self
    }

    /// Bytes for the tool's standard input, which is `/dev/null` otherwise.
    pub fn stdin(mut self, bytes: Vec<u8>) -> Self {
        self.stdin = Some(Input::Bytes(bytes));
        self
    }

    /// A file for the tool's standard input, from where it stands.
    pub fn stdin_file(mut self, file: File) -> Self {
        self.stdin = Some(Input::File(Arc::new(file)));
        self
    }

    /// How much memory the tool may have for itself, in bytes: one that asks for more fails.
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.memory_bytes = Some(bytes);
        self
    }

    /// Which bits the tool's new files do not get; as the daemon's own otherwise, which are private.
    pub fn umask(mut self, umask: u32) -> Self {
        self.umask = Some(umask);
        self
    }

    /// Exit codes that count as success; `&[0]` otherwise.
    pub fn ok_codes(mut self, codes: &'static [i32]) -> Self {
        self.ok_codes = codes;
        self
    }

    /// Runs the tool to its end and keeps all it printed.
    ///
    /// # Errors
    ///
    /// When the tool is not installed, cannot be started, or ends with a code that is not a success.
    pub async fn run(self) -> Result<Output, CommandError> {
        self.execute(None).await
    }

    /// Like [`Self::run`], but hands over every line as it comes (carriage returns end a line as well) and
    /// keeps only the last 16 KiB of each stream.
    ///
    /// # Errors
    ///
    /// As [`Self::run`].
    pub async fn run_streaming(
        self,
        mut on_line: impl FnMut(OutputStream, &str) + Send,
    ) -> Result<Output, CommandError> {
        self.execute(Some(&mut on_line)).await
    }

    /// Runs the tool to its end and passes on what it prints, piece by piece and no faster than `sink` takes
    /// it. When nobody takes it any more the tool is ended.
    ///
    /// # Errors
    ///
    /// As [`Self::run`].
    pub async fn run_piped(mut self, sink: mpsc::Sender<Bytes>) -> Result<(), CommandError> {
        let argv = display_argv(&self.program, &self.args);
        let mut child = self.spawn(&argv)?;
        let input = self.stdin.take();
        let mut group = ProcessGroup(child.id().and_then(|id| Pid::from_raw(id as i32)));
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let io_error = |source| CommandError::Io { argv: argv.clone(), source };
        let (Some(stdout), Some(mut stderr)) = (stdout, stderr) else {
            return Err(io_error(io::Error::other("its output is not a pipe")));
        };
        let mut said = Vec::new();
        let (_, piped, read) =
            tokio::join!(feed(stdin, input), pipe(stdout, sink), stderr.read_to_end(&mut said));
        piped.and(read.map(drop)).map_err(io_error)?;
        let status = child.wait().await.map_err(io_error)?;
        group.0 = None;
        match status.code() {
            Some(code) if self.ok_codes.contains(&code) => Ok(()),
            _ => Err(CommandError::Failed { argv, status, stderr: last_lines(&said) }),
        }
    }

    async fn execute(mut self, on_line: Option<LineCallback<'_>>) -> Result<Output, CommandError> {
        let argv = display_argv(&self.program, &self.args);
        let mut child = self.spawn(&argv)?;
        let input = self.stdin.take();
        // Dropped before `child`: the group's id is ours only as long as its leader has not been reaped.
        let mut group = ProcessGroup(child.id().and_then(|id| Pid::from_raw(id as i32)));
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let io_error = |source| CommandError::Io { argv: argv.clone(), source };
        let (Some(stdout), Some(stderr)) = (stdout, stderr) else {
            return Err(io_error(io::Error::other("its output is not a pipe")));
        };
        let mut captured = Captured::new(on_line.is_some());
        let talked = {
            let pumping = pump(stdout, stderr, on_line, &mut captured);
            let talk = async { tokio::join!(feed(stdin, input), pumping).1 };
            tokio::pin!(talk);
            tokio::select! {
                talked = &mut talk => Some(talked),
                // Late is no failure: the group is ended below.
                () = ended(group.0) => tokio::time::timeout(AFTER_EXIT, talk).await.ok(),
            }
        };
        // Somebody whom the tool has started holds its output open, and may do so for ever: the group ends
        // with its leader.
        if talked.is_none() {
            group.kill();
        }
        talked.transpose().map_err(io_error)?;
        let status = child.wait().await.map_err(io_error)?;
        group.0 = None;
        let (stdout, stderr) = (captured.stdout.kept, captured.stderr.kept);
        match status.code() {
            Some(code) if self.ok_codes.contains(&code) => Ok(Output { code, stdout, stderr }),
            _ => Err(CommandError::Failed { argv, status, stderr: last_lines(&stderr) }),
        }
    }

    fn spawn(&self, argv: &str) -> Result<Child, CommandError> {
        let failed = |source| CommandError::Spawn { argv: argv.to_owned(), source };
        let stdin = match &self.stdin {
            None => Stdio::null(),
            Some(Input::Bytes(_)) => Stdio::piped(),
            Some(Input::File(file)) => file.try_clone().map_err(failed)?.into(),
        };
        let program = find_program(&self.program.to_string_lossy())?;
        #[allow(clippy::disallowed_methods, reason = "the one place that runs tools")]
        let mut command = tokio::process::Command::new(program);
        command
            .args(&self.args)
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        for (key, value) in &self.env {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        if let Some(dir) = &self.cwd {
            command.current_dir(dir);
        }
        let parent = rustix::process::getpid();
        let umask = self.umask.map(Mode::from_raw_mode);
        let memory = self.memory_bytes;
        let die_with_parent = move || {
            umask.map(rustix::process::umask);
            if let Some(bytes) = memory {
                let limit = Rlimit { current: Some(bytes), maximum: Some(bytes) };
                rustix::process::setrlimit(Resource::Data, limit)?;
            }
            rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
            // The parent may have died before the line above; then nobody would ever send the signal.
            if rustix::process::getppid() == Some(parent) {
                Ok(())
            } else {
                Err(io::ErrorKind::BrokenPipe.into())
            }
        };
        #[allow(unsafe_code, reason = "runs between fork and exec")]
        // SAFETY: the closure makes a few system calls, allocates nothing and takes no lock.
        unsafe {
            command.pre_exec(die_with_parent);
        }
        command.spawn().map_err(failed)
    }
}

/// Kills the process group when dropped with a group in it.
struct ProcessGroup(Option<Pid>);

impl ProcessGroup {
    fn kill(&mut self) {
        if let Some(pid) = self.0.take() {
            // It may have ended by itself.
            let _ = rustix::process::kill_process_group(pid, Signal::KILL);
        }
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Writes all input, then closes the pipe. A tool that does not read its input to the end is free to do so.
async fn feed(pipe: Option<ChildStdin>, input: Option<Input>) {
    if let (Some(mut pipe), Some(Input::Bytes(input))) = (pipe, input) {
        // See above: how it ended tells what it thinks of that.
        let _ = pipe.write_all(&input).await;
    }
}

/// Passes a stream on until it ends, or nobody takes it any more. Closing it then tells the tool.
async fn pipe(mut stdout: impl AsyncRead + Unpin, sink: mpsc::Sender<Bytes>) -> io::Result<()> {
    loop {
        let mut piece = BytesMut::with_capacity(PIECE_LEN);
        if stdout.read_buf(&mut piece).await? == 0 || sink.send(piece.freeze()).await.is_err() {
            return Ok(());
        }
    }
}

/// Waits until the process has ended, without reaping it. Without a process, or a way to watch it, for ever.
async fn ended(pid: Option<Pid>) {
    let pidfd = pid.and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok());
    #[allow(unsafe_code, reason = "tokio cannot know that an OwnedFd stays what it is")]
    // SAFETY: the descriptor is owned by what is registered, which nobody else can reach to close or replace
    // it.
    let watched = pidfd.map(|pidfd| unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) });
    match watched {
        Some(Ok(pidfd)) if pidfd.readable().await.is_ok() => {}
        _ => std::future::pending().await,
    }
}

/// The last lines of a tool's stderr, for an error.
fn last_lines(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let mut lines: Vec<&str> =
        text.lines().filter(|line| !line.trim().is_empty()).rev().take(ERROR_LINES).collect();
    lines.reverse();
    lines.join("\n")
}

/// An argument vector as one would type it.
pub fn display_argv(program: &OsStr, args: &[OsString]) -> String {
    let quoted = |word: &OsStr| {
        let word = word.to_string_lossy();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%^".contains(c);
        if !word.is_empty() && word.chars().all(plain) {
            word.into_owned()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    };
    std::iter::once(program)
        .chain(args.iter().map(OsString::as_os_str))
        .map(quoted)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
