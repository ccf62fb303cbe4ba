//! Processes that outlive the daemon (VMMs): started apart from it, found again in `/proc`, held by pidfd.
//!
//! There is no pid file. A process is named by pid *and* start time, and acted on through a pidfd only, so a
//! recycled pid is never hit.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags};
use rustix::fs::OFlags;
use rustix::io::FdFlags;
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, PidfdFlags, Resource, Rlimit};
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

pub use rustix::process::Signal;

/// Which process: a pid alone may have been given to another one since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessIdentity {
    pub pid: i32,
    /// When it started, in clock ticks since the host booted.
    pub start_time_ticks: u64,
}

impl ProcessIdentity {
    /// # Errors
    ///
    /// When `/proc` cannot be read.
    pub fn of_this_process() -> io::Result<Self> {
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        Ok(Self { pid, start_time_ticks: Stat::read(pid)?.start_time_ticks })
    }
}

/// Why something about a process failed.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    #[error("could not open the log file {}", path.display())]
    Log { path: PathBuf, source: io::Error },
    #[error("could not make a pipe")]
    Pipe(#[source] io::Error),
    #[error("could not start {} in {}", program.display(), cwd.display())]
    Spawn { program: PathBuf, cwd: PathBuf, source: io::Error },
    #[error("could not {action} process {pid}")]
    Access { action: &'static str, pid: i32, source: io::Error },
    #[error("could not list the processes in {}", dir.display())]
    List { dir: PathBuf, source: io::Error },
}

/// A process to start apart from the daemon.
#[derive(Debug)]
pub struct DetachedSpec {
    /// Path of the program; not searched for.
    pub program: PathBuf,
    pub args: Vec<OsString>,
    pub cwd: PathBuf,
    /// The whole environment: nothing is inherited.
    pub env: Vec<(OsString, OsString)>,
    /// None reads nothing.
    pub stdin: Option<OwnedFd>,
    pub stdout: OwnedFd,
    pub stderr: OwnedFd,
    /// What it gets besides, under the numbers that they have here.
    pub passed: Vec<OwnedFd>,
}

/// Starts a process in a session of its own, with nothing of ours but the descriptors of `spec`. Needs a
/// tokio runtime, in which a task reaps the process should it end before the daemon does.
///
/// # Errors
///
/// When the program cannot be executed.
pub fn spawn_detached(spec: DetachedSpec) -> Result<ProcessHandle, ProcessError> {
    let spawn_error =
        |source| ProcessError::Spawn { program: spec.program.clone(), cwd: spec.cwd.clone(), source };
    #[allow(clippy::disallowed_methods, reason = "the one place that starts long-lived processes")]
    let mut command = tokio::process::Command::new(&spec.program);
    command
        .args(&spec.args)
        .current_dir(&spec.cwd)
        .env_clear()
        .envs(spec.env.iter().map(|(key, value)| (key, value)))
        .stdin(spec.stdin.map_or_else(Stdio::null, Stdio::from))
        .stdout(spec.stdout)
        .stderr(spec.stderr);
    let passed = spec.passed;
    #[allow(unsafe_code, reason = "runs between fork and exec")]
    // SAFETY: a few system calls, no allocation, no lock.
    unsafe {
        command.pre_exec(move || {
            rustix::process::setsid()?;
            dump_no_core()?;
            close_inherited_on_exec()?;
            passed.iter().try_for_each(|fd| Ok(rustix::io::fcntl_setfd(fd, FdFlags::empty())?))
        });
    }
    let mut child = command.spawn().map_err(spawn_error)?;
    let pid = child.id().map(|id| id as i32).ok_or_else(|| spawn_error(io::ErrorKind::NotFound.into()))?;
    // Nobody has reaped it yet, so the pid is still its own.
    let access = |action| move |source| ProcessError::Access { action, pid, source };
    let stat = Stat::read(pid).map_err(access("read the state of"))?;
    let pidfd = open_pidfd(pid).map_err(access("open"))?;
    let (sender, exit) = watch::channel(None);
    tokio::spawn(async move {
        match child.wait().await {
            Ok(status) => drop(sender.send(Some(status))),
            Err(error) => tracing::warn!(pid, %error, "could not wait for a process"),
        }
    });
    let identity = ProcessIdentity { pid, start_time_ticks: stat.start_time_ticks };
    Ok(ProcessHandle { inner: Arc::new(Inner { identity, pidfd, exit: Some(exit) }) })
}

/// A file for the output of a process, appended to; made with mode 0600.
///
/// # Errors
///
/// When it cannot be opened.
pub fn open_log(path: &Path) -> Result<OwnedFd, ProcessError> {
    use std::os::unix::fs::OpenOptionsExt;
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    file.map(OwnedFd::from).map_err(|source| ProcessError::Log { path: path.to_owned(), source })
}

/// A pipe for the output of a process: what to read from, and what to write to. Whoever writes never waits:
/// what does not fit is refused.
///
/// # Errors
///
/// When we have too many descriptors open.
pub fn output_pipe() -> Result<(OwnedFd, OwnedFd), ProcessError> {
    let (read, write) =
        rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|error| ProcessError::Pipe(error.into()))?;
    rustix::fs::fcntl_setfl(&write, OFlags::NONBLOCK).map_err(|error| ProcessError::Pipe(error.into()))?;
    Ok((read, write))
}

/// A VMM that a guest has crashed would leave its memory on the disk.
fn dump_no_core() -> io::Result<()> {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    Ok(rustix::process::setrlimit(Resource::Core, none)?)
}

/// Our own files close on exec anyway; this is for those that whoever started the daemon left open in it.
fn close_inherited_on_exec() -> io::Result<()> {
    #[allow(unsafe_code, reason = "rustix has no close_range")]
    // SAFETY: only sets a flag on descriptors; closes none of them now.
    let result = unsafe { libc::close_range(3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC as libc::c_int) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A hold on one process that can never slip to another.
#[derive(Clone, Debug)]
pub struct ProcessHandle {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    identity: ProcessIdentity,
    pidfd: OwnedFd,
    /// Set when we are its parent.
    exit: Option<watch::Receiver<Option<ExitStatus>>>,
}

impl ProcessHandle {
    /// None when the process is gone, even if its pid lives on.
    ///
    /// # Errors
    ///
    /// When the kernel refuses a pidfd for another reason.
    pub fn open(identity: ProcessIdentity) -> Result<Option<Self>, ProcessError> {
        let pid = identity.pid;
        let access = |action| move |source| ProcessError::Access { action, pid, source };
        let pidfd = match open_pidfd(pid) {
            Ok(pidfd) => pidfd,
            Err(error) if is_gone(&error) => return Ok(None),
            Err(error) => return Err(access("open")(error)),
        };
        // Read after the pidfd was opened: if the pid was handed on in between, the start time tells.
        match Stat::read(pid) {
            Ok(stat) if stat.start_time_ticks == identity.start_time_ticks => {
                Ok(Some(Self { inner: Arc::new(Inner { identity, pidfd, exit: None }) }))
            }
            Ok(_) => Ok(None),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(access("read the state of")(error)),
        }
    }

    pub fn identity(&self) -> ProcessIdentity {
        self.inner.identity
    }

    /// Answers false when the process is gone already.
    ///
    /// # Errors
    ///
    /// When we may not signal it.
    pub fn signal(&self, signal: Signal) -> Result<bool, ProcessError> {
        match rustix::process::pidfd_send_signal(&self.inner.pidfd, signal) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::SRCH) => Ok(false),
            Err(errno) => Err(self.error("signal", errno.into())),
        }
    }

    /// Is `dir` its working directory? False also when that cannot be told.
    pub fn works_in(&self, dir: &Path) -> bool {
        let cwd = std::fs::read_link(format!("/proc/{}/cwd", self.identity().pid));
        let is_there = matches!((cwd, dir.canonicalize()), (Ok(cwd), Ok(dir)) if cwd == dir);
        is_there && self.is_alive()
    }

    /// False from the moment it exits, reaped or not.
    pub fn is_alive(&self) -> bool {
        let mut fds = [PollFd::new(&self.inner.pidfd, PollFlags::IN)];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        matches!(rustix::event::poll(&mut fds, Some(&now)), Ok(0))
    }

    /// Waits for the end. The status is known only when this daemon started the process.
    ///
    /// # Errors
    ///
    /// When the pidfd cannot be watched.
    pub async fn wait_exit(&self) -> Result<Option<ExitStatus>, ProcessError> {
        if let Some(exit) = &self.inner.exit {
            // An error means that the reaping task is gone; the pidfd still tells.
            #[allow(clippy::disallowed_methods, reason = "the guard ends inside the statement")]
            let ended = exit.clone().wait_for(Option::is_some).await.map(|status| *status);
            if let Ok(status) = ended {
                return Ok(status);
            }
        }
        // A copy, because one descriptor can be registered only once, and several callers may wait.
        let copy = self.inner.pidfd.try_clone().map_err(|source| self.error("watch", source))?;
        #[allow(unsafe_code, reason = "tokio cannot know that an OwnedFd stays what it is")]
        // SAFETY: the descriptor is owned by what is registered, which nobody else can reach to close or
        // replace it.
        let watched = unsafe { AsyncFd::register_with_interest(copy, Interest::READABLE) };
        let watched = watched.map_err(|error| self.error("watch", error.into()))?;
        let ready = watched.readable().await;
        ready.map(|_| None).map_err(|source| self.error("watch", source))
    }

    /// None when the process is gone.
    ///
    /// # Errors
    ///
    /// When `/proc` cannot be read.
    pub fn usage(&self) -> Result<Option<ProcessUsage>, ProcessError> {
        let identity = self.identity();
        match Stat::read(identity.pid) {
            Ok(stat) if stat.start_time_ticks == identity.start_time_ticks => Ok(Some(stat.usage())),
            Ok(_) => Ok(None),
            Err(error) if is_gone(&error) => Ok(None),
            Err(source) => Err(self.error("read the state of", source)),
        }
    }

    fn error(&self, action: &'static str, source: io::Error) -> ProcessError {
        ProcessError::Access { action, pid: self.identity().pid, source }
    }
}

fn open_pidfd(pid: i32) -> io::Result<OwnedFd> {
    let pid = Pid::from_raw(pid).ok_or(io::ErrorKind::NotFound)?;
    Ok(rustix::process::pidfd_open(pid, PidfdFlags::empty())?)
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

/// What a process costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessUsage {
    /// Memory held in RAM, shared pages included; the kernel counts loosely, so some hundred KiB off.
    pub rss_bytes: u64,
    /// CPU time used so far, user and system.
    pub cpu_time_ms: u64,
}

/// A process of ours found by where it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundProcess {
    pub identity: ProcessIdentity,
    /// Its directory as it was named when it still existed.
    pub cwd: PathBuf,
    pub cwd_deleted: bool,
    pub argv: Vec<OsString>,
}

/// Processes of this user whose working directory lies directly in `dir` (deleted ones included), and one of
/// whose arguments contains `marker`. That is how a restarted daemon finds its VMMs.
///
/// # Errors
///
/// When `dir` does not exist, or `/proc` cannot be listed. Processes that vanish meanwhile are no errors.
pub fn find_by_cwd_and_arg(dir: &Path, marker: &str) -> Result<Vec<FoundProcess>, ProcessError> {
    let list_error = |source| ProcessError::List { dir: dir.to_owned(), source };
    // The kernel shows working directories without symbolic links.
    let real_dir = dir.canonicalize().map_err(list_error)?;
    let uid = crate::system::uid();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").map_err(list_error)? {
        let Ok(entry) = entry else { continue };
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        if entry.metadata().is_ok_and(|meta| meta.uid() == uid) {
            found.extend(inspect(pid, &real_dir, marker));
        }
    }
    Ok(found)
}

fn inspect(pid: i32, dir: &Path, marker: &str) -> Option<FoundProcess> {
    let before = Stat::read(pid).ok()?;
    // A process that has just ended, or is somebody else's. So below.
    let link = std::fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
    let (cwd, cwd_deleted) = match link.as_os_str().as_bytes().strip_suffix(b" (deleted)") {
        Some(name) => (PathBuf::from(OsString::from_vec(name.to_vec())), true),
        None => (link, false),
    };
    if cwd.parent() != Some(dir) {
        return None;
    }
    // See above.
    let cmdline = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let argv = parse_cmdline(&cmdline);
    let marked =
        |arg: &OsString| arg.as_bytes().windows(marker.len().max(1)).any(|part| part == marker.as_bytes());
    // The same start time before and after: all of this was read of one process.
    let same = Stat::read(pid).is_ok_and(|after| after.start_time_ticks == before.start_time_ticks);
    let identity = ProcessIdentity { pid, start_time_ticks: before.start_time_ticks };
    (same && argv.iter().any(marked)).then_some(FoundProcess { identity, cwd, cwd_deleted, argv })
}

fn parse_cmdline(bytes: &[u8]) -> Vec<OsString> {
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(bytes);
    if bytes.is_empty() {
        return Vec::new();
    }
    bytes.split(|byte| *byte == 0).map(|arg| OsString::from_vec(arg.to_vec())).collect()
}

/// The fields of `/proc/<pid>/stat` that matter here; see proc_pid_stat(5).
struct Stat {
    start_time_ticks: u64,
    cpu_time_ticks: u64,
    rss_pages: u64,
}

impl Stat {
    fn read(pid: i32) -> io::Result<Self> {
        let bytes = std::fs::read(format!("/proc/{pid}/stat"))?;
        Self::parse(&bytes)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "malformed /proc/<pid>/stat"))
    }

    /// The second field is the program's name in parentheses and may hold anything, so count from the last
    /// one.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let end_of_name = bytes.iter().rposition(|byte| *byte == b')')?;
        let rest = std::str::from_utf8(bytes.get(end_of_name + 1..)?).ok()?;
        // The first of these is field 3.
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        Some(Self {
            start_time_ticks: field(22)?,
            cpu_time_ticks: field(14)?.saturating_add(field(15)?),
            rss_pages: field(24)?,
        })
    }

    fn usage(&self) -> ProcessUsage {
        let ticks_per_second = rustix::param::clock_ticks_per_second();
        ProcessUsage {
            rss_bytes: self.rss_pages.saturating_mul(rustix::param::page_size() as u64),
            cpu_time_ms: self.cpu_time_ticks.saturating_mul(1000) / ticks_per_second.max(1),
        }
    }
}

#[cfg(test)]
#[path = "process_tests.rs"]
mod tests;
