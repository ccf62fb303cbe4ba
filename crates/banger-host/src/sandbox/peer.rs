//! Is the process at the other end of a connection a VMM, of whichever daemon?
//!
//! Asked of the kernel, not of the process: command line and name are its own to change. What it cannot shed is the
//! directory it runs in (`chdir` is denied to it), the filters on its calls, and who its parents are (so is `fork`).

use std::path::Path;

/// Longer chains of parents are not followed.
const ANCESTORS_MAX: usize = 256;

/// Where a process comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It is a VMM, or below one, or below this process.
    Confined,
    Elsewhere,
    /// It has ended; who it was cannot be told any more.
    Gone,
}

/// Looks at `pid` and the processes above it. `known` are VMMs by their process ids, `is_vm_dir` knows the directories that
/// VMMs run in.
pub fn origin(pid: i32, known: &[i32], is_vm_dir: impl Fn(&Path) -> bool) -> Origin {
    let own = std::process::id() as i32;
    // Without /proc nothing can be told, of anybody.
    let Some(Status { filters: own_filters, .. }) = Status::read(own) else { return Origin::Elsewhere };
    let mut current = pid;
    for _ in 0..ANCESTORS_MAX {
        if current == own {
            return if pid == own { Origin::Elsewhere } else { Origin::Confined };
        }
        if known.contains(&current) {
            return Origin::Confined;
        }
        let Some(status) = Status::read(current) else {
            return if current == pid { Origin::Gone } else { Origin::Elsewhere };
        };
        // Where the daemon itself runs behind a filter (a container), so does everybody there.
        if status.filters > own_filters && runs_in(current, &is_vm_dir) {
            return Origin::Confined;
        }
        if status.parent <= 0 {
            break;
        }
        current = status.parent;
    }
    Origin::Elsewhere
}

fn runs_in(pid: i32, is_vm_dir: impl Fn(&Path) -> bool) -> bool {
    std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|dir| is_vm_dir(&dir))
}

/// The fields of `/proc/<pid>/status` that matter here; see proc_pid_status(5).
struct Status {
    parent: i32,
    /// How many filters there are on its system calls. Kernels before 5.9 only say whether (2) or not (0).
    filters: u32,
}

impl Status {
    /// None for a process that has ended, reaped or not.
    fn read(pid: i32) -> Option<Self> {
        // See above.
        Self::parse(&std::fs::read(format!("/proc/{pid}/status")).ok()?)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        // The name comes first and has its line breaks escaped.
        let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        if field("State:")?.starts_with(['Z', 'X']) {
            return None;
        }
        let filters = field("Seccomp_filters:").or_else(|| field("Seccomp:"));
        Some(Self {
            parent: field("PPid:")?.parse().ok()?,
            filters: filters.and_then(|count| count.parse().ok()).unwrap_or_default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFINED: &[u8] =
        b"Name:\tSeccomp_filters:\\n9\nState:\tS (sleeping)\nPPid:\t12\nSeccomp:\t2\nSeccomp_filters:\t4\n";

    #[test]
    fn a_status_is_read() {
        let status = Status::parse(CONFINED).unwrap();
        assert_eq!((status.parent, status.filters), (12, 4));
        let old = Status::parse(b"State:\tR (running)\nPPid:\t1\nSeccomp:\t2\n").unwrap();
        assert_eq!((old.parent, old.filters), (1, 2));
        assert!(Status::parse(b"State:\tZ (zombie)\nPPid:\t1\n").is_none());
        assert!(Status::parse(b"").is_none());
    }

    #[test]
    fn own_children_and_known_processes_are_confined_and_nobody_else() {
        let nowhere = |_: &Path| false;
        let own = std::process::id() as i32;
        let parent = rustix::process::getppid().unwrap().as_raw_nonzero().get();
        #[allow(clippy::disallowed_methods, reason = "a child to look at")]
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id() as i32;
        assert_eq!(origin(pid, &[], nowhere), Origin::Confined);
        assert_eq!(origin(own, &[], nowhere), Origin::Elsewhere);
        assert_eq!(origin(own, &[own], nowhere), Origin::Elsewhere);
        assert_eq!(origin(parent, &[], nowhere), Origin::Elsewhere);
        assert_eq!(origin(parent, &[parent], nowhere), Origin::Confined);
        // A directory alone is no sign: whoever looks at a VM's logs may stand in it.
        assert_eq!(origin(parent, &[], |_| true), Origin::Elsewhere);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(origin(pid, &[], nowhere), Origin::Gone);
    }
}
