//! A running command: its streams, its signals and its end.
//!
//! Every command leads a session and process group of its own. To end one: SIGHUP (and SIGCONT, for a stopped
//! one), after a second SIGTERM, after another SIGKILL, to the whole group; with a terminal also to its
//! foreground group.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};

use banger_guest_protocol::frame::{ExecSpec, Exit, Signal, WindowSize};
use rustix::fd::OwnedFd;
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use rustix::process::{Pid, kill_process_group, test_kill_process_group};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcgetpgrp, tcsetwinsize};
use tokio::process::Child;

use super::command::{Command, CommandError};
use super::{ImageDefaults, Stream};
use crate::async_file::AsyncFile;
use crate::spawn::{self, CommandStreams};

/// Time between SIGHUP and SIGTERM, and between SIGTERM and SIGKILL.
const PATIENCE: Duration = Duration::from_secs(1);
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// The largest pipe Linux gives without extra rights. A fast writer then rarely waits for the pump.
pub(super) const PIPE_LEN: usize = 1024 * 1024;

/// A command that was started.
pub(super) struct Running {
    child: Child,
    group: Option<Pid>,
    pub(super) stdin: Stream,
    pub(super) stdout: Stream,
    pub(super) stderr: Stream,
    pub(super) terminal: Stream,
}

impl Running {
    pub(super) fn start(spec: &ExecSpec, image: &ImageDefaults) -> Result<Self, CommandError> {
        let command = Command::prepare(spec, image)?;
        let started = match spec.tty {
            Some(size) => Self::with_terminal(&command, size),
            None => Self::with_pipes(&command, spec.merge_output),
        };
        started.map_err(|source| command.start_error(source))
    }

    fn with_pipes(command: &Command, merge_output: bool) -> io::Result<Self> {
        let (stdin_theirs, stdin) = pipe()?;
        let (stdout, stdout_theirs) = pipe()?;
        let (stderr, stderr_theirs) = if merge_output {
            (None, stdout_theirs.try_clone()?)
        } else {
            let (stderr, theirs) = pipe()?;
            (Some(stderr), theirs)
        };
        let streams = CommandStreams {
            stdin: stdin_theirs,
            stdout: stdout_theirs,
            stderr: stderr_theirs,
            terminal: false,
        };
        let child = spawn_command(command, streams)?;
        Ok(Self {
            group: group_of(&child),
            child,
            stdin: share(stdin)?,
            stdout: share(stdout)?,
            stderr: stderr.map(share).transpose()?.flatten(),
            terminal: None,
        })
    }

    fn with_terminal(command: &Command, size: WindowSize) -> io::Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags)?;
        unlockpt(&master)?;
        tcsetwinsize(&master, winsize(size))?;
        let theirs = ioctl_tiocgptpeer(&master, flags)?;
        let streams = CommandStreams {
            stdin: theirs.try_clone()?,
            stdout: theirs.try_clone()?,
            stderr: theirs,
            terminal: true,
        };
        let child = spawn_command(command, streams)?;
        let terminal = share(master)?;
        Ok(Self {
            group: group_of(&child),
            child,
            stdin: terminal.clone(),
            stdout: terminal.clone(),
            stderr: None,
            terminal,
        })
    }

    pub(super) fn control(&self) -> Control {
        Control { group: self.group, terminal: self.terminal.clone() }
    }

    pub(super) async fn wait(&mut self) -> Exit {
        match self.child.wait().await {
            Ok(status) => Exit { code: exit_code(status), error: None },
            Err(error) => {
                Exit { code: 126, error: Some(format!("could not learn how the command ended: {error}")) }
            }
        }
    }

    /// Ends the command and its group; see the module.
    pub(super) async fn end(mut self) -> Exit {
        let foreground = self.terminal.as_ref().and_then(|terminal| tcgetpgrp(terminal).ok());
        let mut groups: Vec<Pid> = [self.group, foreground].into_iter().flatten().collect();
        groups.dedup();
        // Closing a terminal hangs up on its session.
        self.terminal = None;
        for (signals, patience) in [
            (&[rustix::process::Signal::HUP, rustix::process::Signal::CONT][..], PATIENCE),
            (&[rustix::process::Signal::TERM], PATIENCE),
            (&[rustix::process::Signal::KILL], PATIENCE),
        ] {
            for (group, signal) in
                groups.iter().flat_map(|group| signals.iter().map(move |signal| (group, signal)))
            {
                // Already gone is what we want.
                let _gone = kill_process_group(*group, *signal);
            }
            let end = Instant::now() + patience;
            while Instant::now() < end {
                // A zombie still counts as a member of its group.
                let exited = matches!(self.child.try_wait(), Ok(Some(_)));
                groups.retain(|group| test_kill_process_group(*group).is_ok());
                if exited && groups.is_empty() {
                    return self.wait().await;
                }
                tokio::time::sleep(POLL_INTERVAL).await;
            }
        }
        self.wait().await
    }
}

/// What a client may do to a running command.
pub(super) struct Control {
    group: Option<Pid>,
    terminal: Stream,
}

impl Control {
    /// Not a terminal, that is.
    pub(super) fn has_pipes(&self) -> bool {
        self.terminal.is_none()
    }

    pub(super) fn resize(&self, size: WindowSize) {
        if let Some(terminal) = &self.terminal {
            // Fails only when the command is about to end.
            let _resized = tcsetwinsize(terminal, winsize(size));
        }
    }

    pub(super) fn signal(&self, signal: Signal) {
        let foreground = self.terminal.as_ref().and_then(|terminal| tcgetpgrp(terminal).ok());
        let signal = match signal {
            Signal::Hup => rustix::process::Signal::HUP,
            Signal::Int => rustix::process::Signal::INT,
            Signal::Quit => rustix::process::Signal::QUIT,
            Signal::Term => rustix::process::Signal::TERM,
        };
        if let Some(group) = foreground.or(self.group) {
            // A command that just ended needs no signal.
            let _gone = kill_process_group(group, signal);
        }
    }
}

fn spawn_command(command: &Command, streams: CommandStreams) -> io::Result<Child> {
    spawn::command(
        &command.program,
        &command.argv0,
        &command.args,
        &command.environment,
        &command.workdir,
        streams,
    )
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    // A smaller pipe is only slower.
    let _resized = fcntl_setpipe_size(&write, PIPE_LEN);
    Ok((read, write))
}

fn share(fd: OwnedFd) -> io::Result<Stream> {
    Ok(Some(Arc::new(AsyncFile::new(fd)?)))
}

fn group_of(child: &Child) -> Option<Pid> {
    child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw)
}

fn winsize(size: WindowSize) -> Winsize {
    Winsize { ws_row: size.rows, ws_col: size.cols, ws_xpixel: 0, ws_ypixel: 0 }
}

/// As a shell has it: 128+n for signal n.
fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    u8::try_from(code).unwrap_or(u8::MAX)
}
