//! Who the daemon of a state directory is: the directory decides, whatever else the environment says
//! (docs/decisions/0017).

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use banger_guest_protocol::ByteString;
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// Held with `flock` by the one daemon that may use the state directory, which writes its record into it.
pub const LOCK: &str = "bangerd.lock";

/// A request's header: which state directory its client stands for, as [`directory_id`] writes it. A daemon
/// refuses what is meant for another one's, which may have had its socket before.
pub const STATE_HEADER: &str = "banger-state";

/// Every record is this long, so that a new one takes the place of an old one even when the disk is full.
const RECORD_LEN: usize = 4096;

/// The state directory that the environment asks for: `$XDG_STATE_HOME/banger`, else `~/.local/state/banger`.
/// None where there is no home directory.
pub fn state_dir() -> Option<PathBuf> {
    let absolute = |dir: &PathBuf| dir.is_absolute();
    let named = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(absolute);
    let home = || Some(std::env::home_dir().filter(absolute)?.join(".local/state"));
    Some(named.or_else(home)?.join("banger"))
}

/// Which directory it is, whatever path leads there. None when it is not there.
pub fn directory_id(dir: &Path) -> Option<String> {
    // One that cannot be looked at is no daemon's whom one could mean.
    dir.metadata().ok().map(|found| format!("{:x}-{:x}", found.dev(), found.ino()))
}

/// What a daemon says of itself in its state directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DaemonRecord {
    pub pid: u32,
    /// When its process started, in clock ticks since the host booted: a pid alone may be another's by now.
    pub start_time_ticks: u64,
    /// Where it listens. None while it starts.
    pub socket: Option<ByteString>,
}

impl DaemonRecord {
    /// The record in a state directory. None when there is none, when it is just being written, and when it
    /// is not the user's own.
    pub fn read(state: &Path) -> Option<Self> {
        let file = open(&state.join(LOCK)).ok()?;
        // All of it at one go: read without an idea of the length, it comes in ten small pieces.
        let mut bytes = Vec::with_capacity(RECORD_LEN + 1);
        file.take(RECORD_LEN as u64).read_to_end(&mut bytes).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Writes it into the lock that its daemon holds.
    ///
    /// # Errors
    ///
    /// When the disk is full or broken.
    pub fn write(&self, lock: &File) -> io::Result<()> {
        let mut bytes = serde_json::to_vec(self)?;
        bytes.resize(bytes.len().max(RECORD_LEN - 1), b' ');
        bytes.push(b'\n');
        lock.write_all_at(&bytes, 0)?;
        lock.set_len(bytes.len() as u64)
    }

    pub fn socket(&self) -> Option<PathBuf> {
        self.socket.as_ref().map(|path| path.as_os_str().into())
    }
}

/// Does a daemon hold the state directory? Looking takes the lock for an instant, which daemons know.
pub fn is_held(state: &Path) -> bool {
    [state.to_owned(), state.join(LOCK)].iter().any(|path| {
        open(path)
            .is_ok_and(|file| flock(&file, FlockOperation::NonBlockingLockShared) == Err(Errno::WOULDBLOCK))
    })
}

/// Opens what is the user's own.
fn open(path: &Path) -> io::Result<File> {
    // Whatever lies there, opening it must not wait.
    let flags = (OFlags::NONBLOCK | OFlags::NOFOLLOW).bits().cast_signed();
    // The state directory itself may be reached through a symlink.
    let flags =
        if path.file_name().is_some_and(|name| name.as_bytes() == LOCK.as_bytes()) { flags } else { 0 };
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let own = file.metadata()?.uid() == rustix::process::geteuid().as_raw();
    own.then_some(file).ok_or_else(|| io::ErrorKind::PermissionDenied.into())
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    fn lock(dir: &Path) -> File {
        OpenOptions::new().write(true).create(true).truncate(false).open(dir.join(LOCK)).unwrap()
    }

    #[test]
    fn a_record_is_read_back_whatever_the_path_and_however_long_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(DaemonRecord::read(dir.path()), None);
        let file = lock(dir.path());
        assert_eq!(DaemonRecord::read(dir.path()), None);
        let odd = OsString::from_vec(b"/run/\xff \"\n,%/bangerd.sock".to_vec());
        for socket in [None, Some(odd.into()), Some("/x".into()), Some("/y".repeat(1500).into())] {
            let record = DaemonRecord { pid: 7, start_time_ticks: u64::MAX, socket };
            record.write(&file).unwrap();
            assert_eq!(DaemonRecord::read(dir.path()), Some(record));
        }
    }

    #[test]
    fn what_is_held_is_told_from_either_lock_and_looking_leaves_none() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_held(dir.path()));
        let file = lock(dir.path());
        assert!(!is_held(dir.path()));
        flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
        assert!(is_held(dir.path()));
        flock(&file, FlockOperation::Unlock).unwrap();
        let itself = File::open(dir.path()).unwrap();
        flock(&itself, FlockOperation::NonBlockingLockExclusive).unwrap();
        assert!(is_held(dir.path()));
        drop(itself);
        assert!(!is_held(dir.path()));
        assert!(!is_held(&dir.path().join("none")));
    }

    #[test]
    fn a_fifo_in_its_place_keeps_nobody() {
        let dir = tempfile::tempdir().unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            dir.path().join(LOCK),
            rustix::fs::FileType::Fifo,
            0o600.into(),
            0,
        )
        .unwrap();
        assert_eq!(DaemonRecord::read(dir.path()), None);
        assert!(!is_held(dir.path()));
    }
}
