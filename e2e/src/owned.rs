use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

/// A process that belongs to a home: its working directory, its environment or its arguments lead there.
#[derive(Clone, Debug)]
pub struct OwnedProcess {
    pub pid: u32,
    pub parent: u32,
    pub cwd: PathBuf,
    /// Its arguments, joined by spaces.
    pub line: String,
}

impl OwnedProcess {
    /// Sends a signal; a process that has ended meanwhile is fine.
    pub fn signal(&self, signal: Signal) {
        send(self.pid, signal);
    }
}

/// Sends a signal to a process; one that has ended is fine.
pub fn send(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// Every process of the home in `root`. Zombies do not count: they are gone but for their exit status.
pub fn owned_by(root: &Path) -> Vec<OwnedProcess> {
    let own = std::process::id();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| *pid != own).filter_map(|pid| look_at(pid, root)).collect()
}

fn look_at(pid: u32, root: &Path) -> Option<OwnedProcess> {
    let dir = PathBuf::from(format!("/proc/{pid}"));
    let cwd = std::fs::read_link(dir.join("cwd")).unwrap_or_default();
    let argv = std::fs::read(dir.join("cmdline")).unwrap_or_default();
    let environment = std::fs::read(dir.join("environ")).unwrap_or_default();
    let root_bytes = root.as_os_str().as_bytes();
    let names_root = |bytes: &[u8]| bytes.windows(root_bytes.len()).any(|window| window == root_bytes);
    if !(cwd.starts_with(root) || names_root(&argv) || names_root(&environment)) {
        return None;
    }
    let (state, parent) = state_and_parent(pid)?;
    let line = String::from_utf8_lossy(&argv).replace('\0', " ");
    (state != 'Z').then_some(OwnedProcess { pid, parent, cwd, line })
}

/// Fields 3 and 4 of `/proc/<pid>/stat`; the second one may hold anything, parentheses included.
fn state_and_parent(pid: u32) -> Option<(char, u32)> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}

/// Is there such a process, and is it more than a zombie?
pub fn is_alive(pid: u32) -> bool {
    state_and_parent(pid).is_some_and(|(state, _)| state != 'Z')
}

/// Kills everything that belongs to the home in `root`, also what is being started meanwhile.
pub(crate) fn kill_all(root: &Path) {
    for _ in 0..200 {
        let processes = owned_by(root);
        if processes.is_empty() {
            return;
        }
        for process in processes {
            process.signal(Signal::KILL);
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    eprintln!("some processes of {} do not die: {:?}", root.display(), owned_by(root));
}
