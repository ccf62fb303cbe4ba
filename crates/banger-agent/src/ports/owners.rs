//! Which processes have which sockets open, `/proc/PID/fd`.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use banger_guest_protocol::ports::{COMMAND_MAX_LEN, Process};

/// The oldest process that has each of these sockets. What cannot be found out is left out: processes come
/// and go while one looks.
pub(super) fn of(sockets: impl Iterator<Item = u64>) -> BTreeMap<u64, Process> {
    let mut wanted: BTreeSet<u64> = sockets.collect();
    let mut owners = BTreeMap::new();
    for pid in pids() {
        if wanted.is_empty() {
            break;
        }
        let its_own = open_sockets(pid, &wanted);
        if its_own.is_empty() {
            continue;
        }
        let process = describe(pid);
        for inode in its_own {
            wanted.remove(&inode);
            owners.insert(inode, process.clone());
        }
    }
    owners
}

/// Lowest first: a server that forks is found before its children.
fn pids() -> Vec<u32> {
    // Without `/proc` there were no sockets either.
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut pids: Vec<u32> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    pids
}

/// Those of the wanted sockets that the process has open.
fn open_sockets(pid: u32, wanted: &BTreeSet<u64>) -> Vec<u64> {
    // A process that has ended since has none.
    let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    // Nor is a file that was closed meanwhile.
    let links = files.filter_map(|file| fs::read_link(file.path()).ok());
    links.filter_map(|link| inode(link.as_os_str())).filter(|inode| wanted.contains(inode)).collect()
}

/// The inode in `socket:[12345]`.
fn inode(link: &OsStr) -> Option<u64> {
    let digits = link.as_bytes().strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn describe(pid: u32) -> Process {
    let text = |file: &str| read_start(&Path::new("/proc").join(pid.to_string()).join(file));
    Process { pid, name: line(&text("comm")), command: line(&text("cmdline")) }
}

/// The beginning of a file; nothing of one that has gone with its process.
fn read_start(path: &Path) -> Vec<u8> {
    let mut start = Vec::new();
    if let Ok(file) = File::open(path) {
        // What was read of it until it went is better than nothing.
        let _whole = file.take(2 * COMMAND_MAX_LEN as u64).read_to_end(&mut start);
    }
    start
}

/// As text on one line, no longer than it may be. Arguments are separated by NUL.
fn line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes).trim_end_matches(['\0', '\n']).replace('\0', " ");
    let end = (0..=COMMAND_MAX_LEN.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    text[..end.unwrap_or_default()].to_owned()
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_socket_of_ours_is_ours() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let link = fs::read_link(format!("/proc/self/fd/{}", listener.as_raw_fd())).unwrap();
        let socket = inode(link.as_os_str()).unwrap();
        let owners = of([socket, 1].into_iter());
        assert_eq!(owners.keys().collect::<Vec<_>>(), [&socket]);
        assert_eq!(owners[&socket].pid, std::process::id());
        assert!(owners[&socket].command.contains("banger_agent"), "{owners:?}");
    }

    #[test]
    fn arguments_make_a_line() {
        assert_eq!(line(b"python3\0-m\0http.server\0"), "python3 -m http.server");
        assert_eq!(line(b"sshd\n"), "sshd");
        assert_eq!(line("\u{e9}".repeat(200).as_bytes()).len(), COMMAND_MAX_LEN);
        assert_eq!(line(&[]), "");
    }

    proptest! {
        #[test]
        fn any_text_is_bounded(bytes: Vec<u8>, link: Vec<u8>) {
            prop_assert!(line(&bytes).len() <= COMMAND_MAX_LEN);
            inode(OsStr::from_bytes(&link));
        }
    }
}
