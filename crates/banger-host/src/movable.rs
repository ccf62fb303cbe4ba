//! Whether a file may be moved. Without these questions a rename would find out when others have been moved already.

use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, StatxAttributes, StatxFlags, stat, statat, statx};
use rustix::io::Errno;

/// Whether the file's flags let it be moved, or a directory's let files in it be.
pub(crate) fn movable(path: &Path) -> Result<(), Errno> {
    let found = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::TYPE)?;
    let fixed = StatxAttributes::IMMUTABLE | StatxAttributes::APPEND;
    if found.stx_attributes.intersects(fixed) { Err(Errno::PERM) } else { Ok(()) }
}

/// Whether the file may be taken out of its directory: out of a sticky one (`/tmp`) only its owner, and the directory's, may.
pub(crate) fn removable(path: &Path) -> Result<(), Errno> {
    let above = stat(path.parent().unwrap_or(path))?;
    let file = statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)?;
    let own = rustix::process::geteuid().as_raw();
    let is_sticky = Mode::from_raw_mode(above.st_mode).contains(Mode::SVTX);
    match own == 0 || !is_sticky || [above.st_uid, file.st_uid].contains(&own) {
        true => Ok(()),
        false => Err(Errno::PERM),
    }
}
