//! What must lie on the host for a VM to start, and what is wrong where it does not.

use std::path::Path;

use rustix::fs::{Access, access};
use rustix::io::Errno;

use super::VmError;
use super::record::VmRecord;
use super::registry::Services;
use crate::paths::VmDir;
use crate::store::VmRow;

/// Why a stopped VM cannot start; none when all of it is there.
pub(super) fn fault(services: &Services, row: &VmRow) -> Option<VmError> {
    let dir = services.paths.vm(&row.id);
    let name = &row.name;
    let broken = |why: String, hint: String| VmError::Broken { name: name.to_string(), why, hint };
    let files = [dir.path().to_owned(), dir.file(VmDir::COW), dir.file(VmDir::WORK)];
    if let Some(why) = files.iter().find_map(|path| missing(path)) {
        let hint = format!("put it back, if there is a copy; `banger vm delete {name}` removes what is left");
        return Some(broken(why, hint));
    }
    if row.image_id.is_some() && row.kernel_id.is_some() {
        return None;
    }
    let (image, kernel) = match VmRecord::read(&dir, &row.id) {
        Ok(record) => (record.image, record.kernel),
        Err(error) => {
            let hint = format!("`banger vm delete {name}` removes it");
            return Some(broken(format!("nobody knows its image: {error}"), hint));
        }
    };
    let (what, part) = if row.image_id.is_none() { ("image", image) } else { ("kernel", kernel) };
    let part = part.map(|part| format!("{} ({})", part.name, part.id)).unwrap_or_default();
    // The disks are changes to that very image: another one of its name would not do.
    let hint = "if it is in lost+found, `banger doctor` tells how to bring it back";
    Some(broken(format!("its {what} {part} is not on this host any more"), hint.into()))
}

fn missing(path: &Path) -> Option<String> {
    match access(path, Access::READ_OK | Access::WRITE_OK) {
        Ok(()) => None,
        Err(Errno::NOENT) => Some(format!("{} is gone", path.display())),
        Err(errno) => Some(format!("{} cannot be used: {errno}", path.display())),
    }
}
