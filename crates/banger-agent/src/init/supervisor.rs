//! PID 1 after the start: reaps orphans, and does the few things that only PID 1 can do when the agent asks
//! for them.
//!
//! Requests and answers are single packets on a socket pair. PID 1 answers `+` for "done" and `-` with a text
//! for "failed". After a successful `BecomeInit` the socket closes instead, because it is close-on-exec.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, retry_on_intr};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustix::process::{Pid, WaitOptions, chdir, chroot, wait};

use super::power::{self, Ending};
use crate::system_error::{Context, SystemError};
use crate::{console, signals, spawn};

const PACKET_MAX_LEN: usize = 4352;

/// What the agent asks of PID 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Make this directory the working directory (the first half of a change of root).
    Enter(PathBuf),
    /// Make the working directory the root (the second half).
    ChangeRoot,
    /// Become this program.
    BecomeInit(PathBuf),
    End(Ending),
}

impl Request {
    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Enter(path) => [b"E", path.as_os_str().as_bytes()].concat(),
            Self::ChangeRoot => b"C".to_vec(),
            Self::BecomeInit(path) => [b"I", path.as_os_str().as_bytes()].concat(),
            Self::End(Ending::PowerOff) => b"P".to_vec(),
            Self::End(Ending::Reboot) => b"R".to_vec(),
        }
    }

    fn decode(packet: &[u8]) -> Option<Self> {
        let (tag, rest) = packet.split_first()?;
        let path = || PathBuf::from(OsStr::from_bytes(rest));
        match tag {
            b'E' => Some(Self::Enter(path())),
            b'C' => Some(Self::ChangeRoot),
            b'I' => Some(Self::BecomeInit(path())),
            b'P' => Some(Self::End(Ending::PowerOff)),
            b'R' => Some(Self::End(Ending::Reboot)),
            _ => None,
        }
    }
}

/// Why PID 1 did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    #[error("PID 1 cannot be reached")]
    Unreachable(#[source] io::Error),
    #[error("PID 1 refused: {0}")]
    Refused(String),
}

/// The agent's end of the socket to PID 1.
#[derive(Debug)]
pub struct Supervisor {
    socket: OwnedFd,
}

impl Supervisor {
    pub fn new(socket: OwnedFd) -> Self {
        Self { socket }
    }

    /// Asks PID 1 and waits for its answer. For `BecomeInit`, PID 1 closing the socket is success.
    ///
    /// # Errors
    ///
    /// What PID 1 answered, or that it is gone.
    pub fn ask(&self, request: &Request) -> Result<(), SupervisorError> {
        send(&self.socket, &request.encode(), SendFlags::NOSIGNAL)
            .map_err(|errno| SupervisorError::Unreachable(errno.into()))?;
        let mut buffer = [0; PACKET_MAX_LEN];
        match retry_on_intr(|| recv(&self.socket, &mut buffer, RecvFlags::empty())) {
            // A "done" carries one byte, so that no bytes means end of file.
            Ok((0, _)) if matches!(request, Request::BecomeInit(_)) => Ok(()),
            Ok((0, _)) => Err(SupervisorError::Unreachable(io::ErrorKind::UnexpectedEof.into())),
            Ok((1, _)) => Ok(()),
            Ok((len, _)) => {
                Err(SupervisorError::Refused(String::from_utf8_lossy(&buffer[1..len]).into_owned()))
            }
            Err(errno) => Err(SupervisorError::Unreachable(errno.into())),
        }
    }
}

/// PID 1's life after the agent started. Returns only when it cannot even begin.
///
/// # Errors
///
/// When the kernel gives no signal descriptor.
pub(super) fn supervise(control: &OwnedFd, agent: Pid) -> Result<std::convert::Infallible, SystemError> {
    let children = signals::child_events().context("watch", "child processes")?;
    loop {
        reap(agent);
        let mut sources = [PollFd::new(control, PollFlags::IN), PollFd::new(&children, PollFlags::IN)];
        match poll(&mut sources, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(SystemError::new("wait for", "the agent", errno)),
        }
        let asked = !sources[0].revents().is_empty();
        // Only empties the descriptor: reap() looks for itself who ended.
        let _events = rustix::io::read(&children, &mut [0u8; 1024]);
        if asked {
            serve_one(control, agent);
        }
    }
}

/// Collects every child that ended. The agent is not supposed to.
fn reap(agent: Pid) {
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if pid == agent {
            let how = match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => format!("exit code {code}"),
                (_, Some(signal)) => format!("signal {signal}"),
                _ => "no reason given".to_owned(),
            };
            console::say(format_args!("the agent process ended ({how}); powering off"));
            power::end_machine(Ending::PowerOff);
        }
    }
}

fn serve_one(control: &OwnedFd, agent: Pid) {
    let mut buffer = [0; PACKET_MAX_LEN];
    let len = match retry_on_intr(|| recv(control, &mut buffer, RecvFlags::empty())) {
        Ok((len, _)) if len > 0 => len,
        _ => {
            // The agent closed its end: it is ending. Wait for it, reap() says how it ended.
            while rustix::process::test_kill_process(agent).is_ok() {
                reap(agent);
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            power::end_machine(Ending::PowerOff);
        }
    };
    let result = match Request::decode(&buffer[..len]) {
        Some(Request::Enter(path)) => chdir(&path).map_err(|errno| describe("enter", &path, errno.into())),
        Some(Request::ChangeRoot) => chroot(".")
            .and_then(|()| chdir("/"))
            .map_err(|errno| describe("change root to", Path::new("."), errno.into())),
        Some(Request::BecomeInit(path)) => {
            signals::unblock_all();
            let error = spawn::become_init(&path);
            Err(describe("run", &path, error))
        }
        Some(Request::End(ending)) => power::end_machine(ending),
        None => Err("unknown request".to_owned()),
    };
    let answer = match result {
        Ok(()) => b"+".to_vec(),
        Err(text) => [b"-", text.as_bytes()].concat(),
    };
    // An agent that does not listen any more has ended, and reap() sees that.
    let _sent = send(control, &answer, SendFlags::NOSIGNAL);
}

fn describe(action: &'static str, path: &Path, error: io::Error) -> String {
    console::one_line(&SystemError::new(action, path.display(), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_survive_the_socket() {
        for request in [
            Request::Enter("/newroot".into()),
            Request::ChangeRoot,
            Request::BecomeInit("/sbin/init".into()),
            Request::End(Ending::PowerOff),
            Request::End(Ending::Reboot),
        ] {
            assert_eq!(Request::decode(&request.encode()), Some(request));
        }
        assert_eq!(Request::decode(b""), None);
        assert_eq!(Request::decode(b"x"), None);
    }
}
