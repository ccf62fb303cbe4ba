use std::os::fd::OwnedFd;
use std::path::Path;

use banger_api::record::{DaemonRecord, is_held};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// The process of a daemon, held by pidfd: it cannot slip to another one.
pub(super) struct Process {
    pid: u32,
    pidfd: OwnedFd,
}

impl Process {
    /// The daemon that holds a state directory. None when there is none, or it cannot be seen from here, as
    /// from another PID namespace.
    pub(super) fn of_daemon(state: &Path) -> Option<Self> {
        let record = DaemonRecord::read(state).filter(|_| is_held(state))?;
        let pid = i32::try_from(record.pid).ok().and_then(Pid::from_raw)?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        // Looked at after it was opened: a pid that was handed on in between has another start time.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let same = start_time_ticks(&stat) == Some(record.start_time_ticks);
        same.then_some(Self { pid: record.pid, pidfd })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    pub(super) fn has_ended(&self) -> bool {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        // What cannot be asked any more is not waited for.
        poll(&mut fds, Some(&now)).is_err() || !fds[0].revents().is_empty()
    }

    pub(super) fn kill(&self) -> std::io::Result<()> {
        match pidfd_send_signal(&self.pidfd, Signal::KILL) {
            // It has ended by itself.
            Err(rustix::io::Errno::SRCH) => Ok(()),
            sent => Ok(sent?),
        }
    }
}

/// Field 22 of `/proc/<pid>/stat`; the second one is the program's name and may hold anything.
fn start_time_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs::{File, OpenOptions};

    use banger_api::record::LOCK;
    use rustix::fs::{FlockOperation, flock};

    use super::*;

    fn lock(state: &Path, start_time_ticks: u64) -> File {
        let file =
            OpenOptions::new().write(true).create(true).truncate(false).open(state.join(LOCK)).unwrap();
        DaemonRecord { pid: std::process::id(), start_time_ticks, socket: None }.write(&file).unwrap();
        file
    }

    #[test]
    fn only_who_holds_the_directory_and_is_still_the_same_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
        let own = start_time_ticks(&stat).unwrap();
        let file = lock(dir.path(), own);
        assert!(Process::of_daemon(dir.path()).is_none(), "nobody holds it");
        flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
        let found = Process::of_daemon(dir.path()).unwrap();
        assert_eq!((found.pid(), found.has_ended()), (std::process::id(), false));
        // A pid that was handed on.
        lock(dir.path(), own + 1);
        assert!(Process::of_daemon(dir.path()).is_none());
    }
}
