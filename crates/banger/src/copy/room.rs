use std::io;
use std::os::fd::AsFd;

/// How much may be written before there is another look at what is left.
const UNSEEN_MAX: u64 = 16 << 20;
/// What a copy leaves free at least, in bytes; on a small disk a part of it. A machine whose disk is full to
/// the last byte is no place to look into why.
const FLOOR_MAX: u64 = 512 << 20;
const FLOOR_PART: u64 = 20;

/// Watches that a copy does not fill the disk.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// Written since the latest look.
    unseen: u64,
}

/// There is not as much room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Short {
    pub(super) free: u64,
    pub(super) floor: u64,
}

impl Room {
    /// `bytes` are about to be written on the disk that `place` is on.
    pub(super) fn take(&mut self, place: impl AsFd, bytes: u64) -> io::Result<Option<Short>> {
        self.unseen = self.unseen.saturating_add(bytes);
        if self.unseen < UNSEEN_MAX {
            return Ok(None);
        }
        self.unseen = 0;
        let disk = rustix::fs::fstatvfs(place)?;
        Ok(short(disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize, bytes))
    }
}

fn short(size: u64, free: u64, bytes: u64) -> Option<Short> {
    let floor = (size / FLOOR_PART).min(FLOOR_MAX);
    // A file system that says nothing of its size has no bound of its own.
    (size > 0 && free < bytes.saturating_add(floor)).then_some(Short { free, floor })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;

    #[test]
    fn something_is_left() {
        assert_eq!(short(100 * GIB, 10 * GIB, 9 * GIB), None);
        assert_eq!(
            short(100 * GIB, 10 * GIB, 10 * GIB - 511 * MIB),
            Some(Short { free: 10 * GIB, floor: 512 * MIB })
        );
        assert_eq!(short(100 * MIB, 50 * MIB, 46 * MIB), Some(Short { free: 50 * MIB, floor: 5 * MIB }));
        assert_eq!(short(100 * MIB, 50 * MIB, 44 * MIB), None);
        assert_eq!(short(0, 0, u64::MAX), None);
        assert!(short(GIB, GIB, u64::MAX).is_some());
    }

    #[test]
    fn small_writes_are_looked_at_together() {
        let file = tempfile::tempfile().unwrap();
        let mut room = Room::default();
        assert_eq!(room.take(&file, UNSEEN_MAX - 1).unwrap(), None);
        assert_eq!(room.unseen, UNSEEN_MAX - 1);
        room.take(&file, 1).unwrap();
        assert_eq!(room.unseen, 0);
        assert!(room.take(&file, u64::MAX).unwrap().is_some());
    }
}
