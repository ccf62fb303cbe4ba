//! Is the process at the other end of a connection a VMM, of whichever daemon?
//!
//! Asked of the kernel, not of the process: command line and name are its own to change. What it cannot shed
//! is the directory it runs in (`chdir` is denied to it), the filters on its calls, and who its parents are
//! (so is `fork`).

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::LazyLock;

/// More than a status is long, on a host with thousands of cores too.
const STATUS_LEN: usize = 8192;

/// Longer chains of parents are not followed.
const ANCESTORS_MAX: usize = 256;

/// How many filters this process has itself; it never takes on more.
static OWN_FILTERS: LazyLock<Option<u32>> =
    LazyLock::new(|| Status::read(std::process::id() as i32)?.filters);

/// Where a process comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It is a VMM, or below one.
    Confined,
    Elsewhere,
    /// It has ended; who it was cannot be told any more.
    Gone,
}

/// Looks at `pid` and, where need be, the processes above it. `known` are VMMs by their process ids,
/// `is_vm_dir` knows the directories that VMMs run in.
pub fn origin(pid: i32, known: &[i32], is_vm_dir: impl Fn(&Path) -> bool) -> Origin {
    let own = std::process::id() as i32;
    if pid == own {
        return Origin::Elsewhere;
    }
    let Some(first) = Status::read(pid) else {
        // Without /proc nothing can be told, of anybody.
        return if OWN_FILTERS.is_some() { Origin::Gone } else { Origin::Elsewhere };
    };
    if known.contains(&pid) {
        return Origin::Confined;
    }
    let filtered = |status: &Status| status.filters > *OWN_FILTERS;
    // Filters are inherited and cannot be shed: with no more of them than this process (which has some in a
    // container), it is below no VMM. Only a kernel without them tells nothing.
    if first.filters.is_some() && !filtered(&first) {
        return Origin::Elsewhere;
    }
    let (mut current, mut status) = (pid, first);
    for _ in 0..ANCESTORS_MAX {
        if filtered(&status) && runs_in(current, &is_vm_dir) {
            return Origin::Confined;
        }
        current = status.parent;
        if current == own || known.contains(&current) {
            return Origin::Confined;
        }
        match Status::read(current) {
            Some(next) => status = next,
            // Above the first process, or it has just ended.
            None => break,
        }
    }
    Origin::Elsewhere
}

fn runs_in(pid: i32, is_vm_dir: impl Fn(&Path) -> bool) -> bool {
    std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|dir| is_vm_dir(&dir))
}

/// The fields of `/proc/<pid>/status` that matter here; see proc_pid_status(5).
struct Status {
    parent: i32,
    /// How many filters there are on its system calls. Kernels before 5.9 only say whether (2) or not (0),
    /// some nothing.
    filters: Option<u32>,
}

impl Status {
    /// None for a process that has ended, reaped or not.
    fn read(pid: i32) -> Option<Self> {
        // See above.
        let mut file = File::open(format!("/proc/{pid}/status")).ok()?;
        // Asked for once for each connection and each of its ancestors: at one go, not in ten pieces.
        let mut bytes = Vec::with_capacity(STATUS_LEN);
        // See above.
        file.read_to_end(&mut bytes).ok()?;
        Self::parse(&bytes)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (mut state, mut parent, mut filtered, mut filters) = (None, None, None, None);
        // The name comes first and has its line breaks escaped.
        for line in bytes.split(|byte| *byte == b'\n') {
            let value = |name: &[u8]| Some(line.strip_prefix(name)?.trim_ascii());
            state = state.or_else(|| value(b"State:"));
            parent = parent.or_else(|| value(b"PPid:"));
            filtered = filtered.or_else(|| value(b"Seccomp:"));
            filters = filters.or_else(|| value(b"Seccomp_filters:"));
        }
        if state?.starts_with(b"Z") || state?.starts_with(b"X") {
            return None;
        }
        Some(Self { parent: number(parent?)?, filters: filters.or(filtered).and_then(number) })
    }
}

fn number<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    // Whatever the kernel writes there that is no number is no answer.
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFINED: &[u8] =
        b"Name:\tSeccomp_filters:\\n9\nState:\tS (sleeping)\nPPid:\t12\nSeccomp:\t2\nSeccomp_filters:\t4\n";

    #[test]
    fn a_status_is_read() {
        let status = Status::parse(CONFINED).unwrap();
        assert_eq!((status.parent, status.filters), (12, Some(4)));
        let old = Status::parse(b"State:\tR (running)\nPPid:\t1\nSeccomp:\t2\n").unwrap();
        assert_eq!((old.parent, old.filters), (1, Some(2)));
        assert!(Status::parse(b"State:\tZ (zombie)\nPPid:\t1\n").is_none());
        assert!(Status::parse(b"").is_none());
        assert_eq!(Status::parse(b"State:\tS\nPPid:\t7\n").unwrap().filters, None);
    }

    #[test]
    fn known_processes_are_confined_and_nobody_else() {
        let nowhere = |_: &Path| false;
        let own = std::process::id() as i32;
        let parent = rustix::process::getppid().unwrap().as_raw_nonzero().get();
        #[allow(clippy::disallowed_methods, reason = "a child to look at")]
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = child.id() as i32;
        // What the daemon starts without a sandbox (git, tar) is no VMM.
        assert_eq!(origin(pid, &[], nowhere), Origin::Elsewhere);
        assert_eq!(origin(pid, &[pid], nowhere), Origin::Confined);
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
