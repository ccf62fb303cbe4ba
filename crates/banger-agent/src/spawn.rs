//! The only place of the agent that starts programs.
#![allow(
    clippy::disallowed_methods,
    reason = "banger-host's runner is for the host; the guest spawns here and only here"
)]

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit};

use crate::SERVE_ARGUMENT;
use crate::exec::command::{DEFAULT_PATH, Environment};

/// Spares the agent from the OOM killer; its commands are put back to normal.
const AGENT_OOM_SCORE: &[u8] = b"-900";

/// How many files a command may have open at once, and how many it may ask for (the agent has those).
const COMMAND_FILES: u64 = 1024;
const FILES_MAX: u64 = 524_288;

/// Emulated processors run AVX and `rep movsb` copies several times slower than plain SSE2 ones; real ones
/// hardly differ.
const PLAIN_COPIES: &str = "glibc.cpu.hwcaps=-AVX2,-AVX512F,-AVX512VL,-AVX,-ERMS,-FSRM";

/// How often to look whether a program has ended.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Starts the agent process: this very program, with its socket to PID 1 as stdin.
///
/// Its `argv[0]` begins with `@`: systemd spares such processes in the killing spree of a shutdown, so that
/// the agent is there until the end.
pub(crate) fn agent(socket: OwnedFd) -> io::Result<Pid> {
    let child = std::process::Command::new("/proc/self/exe")
        .arg0("@banger-agent")
        .arg(SERVE_ARGUMENT)
        .env_clear()
        .env("GLIBC_TUNABLES", PLAIN_COPIES)
        .stdin(Stdio::from(socket))
        .spawn()?;
    i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Replaces PID 1's program with the image's init, as the kernel would have started it. Returns only on
/// failure.
pub(crate) fn become_init(program: &Path) -> io::Error {
    std::process::Command::new(program)
        .env_clear()
        .env("PATH", DEFAULT_PATH)
        .env("HOME", "/")
        .env("TERM", "linux")
        .exec()
}

/// Runs one of the image's own programs to its end, without input or output; after `limit` it is killed.
/// Answers whether it succeeded.
pub(crate) fn run_quietly(program: &Path, args: &[&str], limit: Duration) -> io::Result<bool> {
    let mut child = std::process::Command::new(program)
        .args(args)
        .env_clear()
        .env("PATH", DEFAULT_PATH)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let end = Instant::now() + limit;
    loop {
        match child.try_wait()? {
            Some(status) => return Ok(status.success()),
            None if Instant::now() > end => {
                child.kill()?;
                child.wait()?;
                return Err(io::ErrorKind::TimedOut.into());
            }
            None => std::thread::sleep(POLL_INTERVAL),
        }
    }
}

/// Prepares the agent process itself: its name, its limits, and what the OOM killer thinks of it.
pub(crate) fn prepare_agent() {
    // A name for people only.
    let _kept = rustix::thread::set_name(c"banger-agent");
    // Kernel defaults (1024/4096 files) are too low for build tools; the upper one is what systemd gives a
    // session. The agent itself may need all of them: every output that is still open is one.
    let limit = Rlimit { current: Some(FILES_MAX), maximum: Some(FILES_MAX) };
    // With less it works as well, until it does not: there is nobody to tell yet.
    let _kept = rustix::process::setrlimit(Resource::Nofile, limit);
    // Not every kernel has an OOM killer.
    let _kept = std::fs::write("/proc/self/oom_score_adj", AGENT_OOM_SCORE);
}

/// A command's three streams on the command's side.
pub(crate) struct CommandStreams {
    pub(crate) stdin: OwnedFd,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
    /// They are a terminal, which becomes the command's controlling one.
    pub(crate) terminal: bool,
}

/// Starts a command of the host's in a session of its own. Must run inside the runtime, which reaps it.
pub(crate) fn command(
    program: &Path,
    argv0: &std::ffi::OsStr,
    args: &[std::ffi::OsString],
    environment: &Environment,
    workdir: &Path,
    streams: CommandStreams,
) -> io::Result<tokio::process::Child> {
    let mut command = std::process::Command::new(program);
    command
        .arg0(argv0)
        .args(args)
        .env_clear()
        .envs(environment.iter())
        .current_dir(workdir)
        .stdin(Stdio::from(streams.stdin))
        .stdout(Stdio::from(streams.stdout))
        .stderr(Stdio::from(streams.stderr));
    let terminal = streams.terminal;
    // SAFETY: between fork and exec the closure makes only plain system calls on constants; it allocates
    // nothing and takes no lock.
    #[allow(unsafe_code, reason = "a session and a controlling terminal can only be set in the child")]
    unsafe {
        command.pre_exec(move || in_child(terminal));
    }
    tokio::process::Command::from(command).spawn()
}

fn in_child(terminal: bool) -> io::Result<()> {
    rustix::process::setsid()?;
    if terminal {
        rustix::process::ioctl_tiocsctty(rustix::stdio::stdin().as_fd())?;
    }
    let files = rustix::process::getrlimit(Resource::Nofile);
    let current = files.maximum.map_or(COMMAND_FILES, |maximum| maximum.min(COMMAND_FILES));
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current: Some(current), ..files })?;
    let flags = rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CLOEXEC;
    if let Ok(score) = rustix::fs::open("/proc/self/oom_score_adj", flags, rustix::fs::Mode::empty()) {
        // A command that the OOM killer spares is still better than none.
        let _kept = rustix::io::write(&score, b"0");
    }
    Ok(())
}
