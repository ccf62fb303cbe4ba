use std::path::Path;

use banger_api::doctor::Check;

use super::{existing, fail, human_bytes, ok, warn};
use crate::causes::on_one_line;
use crate::vmm::START_FLOOR_BYTES;

const NAME: &str = "disk space";

/// A few VMs that are worked in.
const WANTED_BYTES: u64 = 10 << 30;

/// The image and the kernel do not fit into less.
const NEEDED_BYTES: u64 = 2 << 30;

/// Below this, no VM is started at all.
const _: () = assert!(START_FLOOR_BYTES < NEEDED_BYTES);

/// Is there room for images and disks?
pub(super) fn check(state: &Path) -> Check {
    let place = existing(state);
    match banger_host::system::free_disk_bytes(place) {
        Ok(free) => judge(free, place),
        Err(error) => fail(NAME, on_one_line(&error), None),
    }
}

fn judge(free: u64, place: &Path) -> Check {
    let seen = format!("{} free in {}", human_bytes(free), place.display());
    let fix = || {
        Some(format!(
            "free some disk space, or set XDG_STATE_HOME to a disk with at least {}",
            human_bytes(WANTED_BYTES)
        ))
    };
    match free {
        WANTED_BYTES.. => ok(NAME, seen),
        NEEDED_BYTES.. => warn(NAME, seen, fix()),
        START_FLOOR_BYTES.. => fail(NAME, seen, fix()),
        _ => fail(NAME, format!("{seen}: no VM is started with so little"), fix()),
    }
}

#[cfg(test)]
mod tests {
    use banger_api::doctor::Verdict;

    use super::*;

    #[test]
    fn little_space_warns_and_too_little_fails() {
        for (free, verdict) in
            [(10 << 30, Verdict::Ok), ((10 << 30) - 1, Verdict::Warn), ((2 << 30) - 1, Verdict::Fail)]
        {
            let check = judge(free, Path::new("/"));
            assert_eq!((check.verdict, check.fix.is_some()), (verdict, verdict != Verdict::Ok));
        }
        let check = judge(120 << 20, Path::new("/x"));
        assert_eq!(check.seen, "120 MiB free in /x: no VM is started with so little");
    }
}
