//! Whether a file may be moved. Without these questions a rename would find out when others have been moved
//! already.

use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, StatxAttributes, StatxFlags, stat, statat, statx};
use rustix::io::Errno;

/// Whether the file's flags let it be moved, or a directory's let files in it be.
pub(crate) fn movable(path: &Path) -> Result<(), Errno> {
    let found = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::TYPE)?;
    let fixed = StatxAttributes::IMMUTABLE | StatxAttributes::APPEND;
    if found.stx_attributes.intersects(fixed) { Err(Errno::PERM) } else { Ok(()) }
}

/// Whether the file may be taken out of its directory: out of a sticky one (`/tmp`) only its owner, and the
/// directory's, may.
pub(crate) fn removable(path: &Path) -> Result<(), Errno> {
    let above = stat(path.parent().unwrap_or(path))?;
    let file = statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)?;
    let is_sticky = Mode::from_raw_mode(above.st_mode).contains(Mode::SVTX);
    match may_remove(crate::system::uid(), is_sticky, [above.st_uid, file.st_uid]) {
        true => Ok(()),
        false => Err(Errno::PERM),
    }
}

fn may_remove(user: u32, is_sticky: bool, owners: [u32; 2]) -> bool {
    user == 0 || !is_sticky || owners.contains(&user)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn out_of_a_sticky_directory_only_owners_take_files() {
        for (user, is_sticky, owners, may) in [
            (1, true, [0, 2], false),
            (1, false, [0, 2], true),
            (1, true, [1, 2], true),
            (1, true, [0, 1], true),
            (0, true, [1, 2], true),
        ] {
            assert_eq!(may_remove(user, is_sticky, owners), may, "{user} {is_sticky} {owners:?}");
        }
    }
}
