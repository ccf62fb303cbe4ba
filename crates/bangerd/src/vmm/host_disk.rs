//! Is there room for what VMs write? (docs/decisions/0019)

use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, Mode, OFlags};

/// What must be free before a VM is started. A boot writes some ten MiB, and whoever starts a VM wants to
/// work in it.
pub const START_FLOOR_BYTES: u64 = 512 << 20;

/// What must be free before a VM that found no room goes on, or a twentieth of the disk where that is less:
/// more than a moment's worth of writing, or it would stop and go every two seconds.
const RESUME_FLOOR_BYTES: u64 = 128 << 20;
const RESUME_FLOOR_FRACTION: u64 = 20;

/// A quota shows in no figure of the disk's, so this much is asked for and given back.
const TRIAL_BYTES: u64 = 1 << 20;

/// There is less room than a VM needs.
#[derive(Debug, thiserror::Error)]
#[error(
    "{} has {} MiB free; a VM needs at least {} MiB to start without freezing",
    path.display(), free_bytes >> 20, START_FLOOR_BYTES >> 20
)]
pub struct NoRoom {
    pub path: PathBuf,
    pub free_bytes: u64,
}

/// Insists on room for another VM on the disk of `dir`.
///
/// # Errors
///
/// When there is none. A disk that cannot be asked is taken for one with room: the start then tells what is
/// wrong with it.
pub async fn room_to_start(dir: &Path) -> Result<(), NoRoom> {
    let dir = dir.to_owned();
    let looked = tokio::task::spawn_blocking(move || {
        let Ok(room) = Room::of(&dir) else { return Ok(()) };
        match room.free_bytes {
            free_bytes if free_bytes < START_FLOOR_BYTES => Err(NoRoom { path: dir, free_bytes }),
            _ if refuses(&dir) => Err(NoRoom { path: dir, free_bytes: 0 }),
            _ => Ok(()),
        }
    });
    looked.await.unwrap_or(Ok(()))
}

/// Is there room enough on the disk of `dir` for a VM that found none?
pub(super) async fn may_go_on(dir: &Path) -> bool {
    let dir = dir.to_owned();
    let looked = tokio::task::spawn_blocking(move || {
        Room::of(&dir).is_ok_and(|room| room.free_bytes >= room.resume_floor()) && !refuses(&dir)
    });
    looked.await.unwrap_or(false)
}

/// Does the disk of `dir` take nothing, whatever the figures say?
pub(super) async fn takes_nothing(dir: &Path) -> bool {
    let dir = dir.to_owned();
    tokio::task::spawn_blocking(move || refuses(&dir)).await.unwrap_or(false)
}

struct Room {
    free_bytes: u64,
    total_bytes: u64,
}

impl Room {
    fn of(dir: &Path) -> io::Result<Self> {
        let stat = rustix::fs::statvfs(dir)?;
        let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
        Ok(Self { free_bytes: bytes(stat.f_bavail), total_bytes: bytes(stat.f_blocks) })
    }

    fn resume_floor(&self) -> u64 {
        RESUME_FLOOR_BYTES.min(self.total_bytes / RESUME_FLOOR_FRACTION)
    }
}

fn refuses(dir: &Path) -> bool {
    matches!(
        try_to_take(dir).map_err(|error| error.kind()),
        Err(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    )
}

/// Takes some room in a file without a name. Where the filesystem knows of no such thing, the figures have to
/// do.
fn try_to_take(dir: &Path) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::TMPFILE | OFlags::CLOEXEC;
    let file = rustix::fs::open(dir, flags, Mode::RUSR | Mode::WUSR)?;
    Ok(rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, TRIAL_BYTES)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_disk_has_a_small_floor() {
        let floor = |total_bytes| Room { free_bytes: 0, total_bytes }.resume_floor();
        assert_eq!([floor(1 << 30) >> 20, floor(1 << 40) >> 20], [51, 128]);
    }

    #[test]
    fn a_refusal_says_how_much_there_is_and_how_much_is_needed() {
        assert_eq!(
            NoRoom { path: "/x".into(), free_bytes: 120 << 20 }.to_string(),
            "/x has 120 MiB free; a VM needs at least 512 MiB to start without freezing"
        );
    }

    #[tokio::test]
    async fn a_directory_that_is_not_there_is_not_full() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!takes_nothing(dir.path()).await);
        assert!(room_to_start(&dir.path().join("none")).await.is_ok());
        assert!(!may_go_on(&dir.path().join("none")).await);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
