//! What must lie on the host for a VM to start, and what is wrong where it does not.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{Access, AtFlags, Mode, OFlags, access, accessat};
use rustix::io::Errno;

use super::VmError;
use super::record::VmRecord;
use crate::identity::{VmId, VmName};
use crate::paths::{Paths, VmDir};
use crate::store::VmRow;
use crate::vmm::VmmKind;

/// The directory of all VMs, held open for many short looks.
pub(super) struct VmsDir(Option<OwnedFd>);

impl VmsDir {
    /// Where it cannot be opened, nothing in it is whole, and [`fault`] says why.
    pub(super) fn open(paths: &Paths) -> Self {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Self(rustix::fs::open(paths.vms(), flags, Mode::empty()).ok())
    }

    /// Are the disks there that [`fault`] looks for? Somebody may have hundreds of VMs, so that each look
    /// counts: none is at the directory by itself, and `EACCESS` spares the kernel a change of credentials.
    pub(super) fn has_disks(&self, id: &VmId) -> bool {
        let Some(vms) = &self.0 else { return false };
        [VmDir::COW, VmDir::WORK].iter().all(|disk| {
            let path = [id.as_str(), "/", disk].concat();
            accessat(vms, path, WANTED, AtFlags::EACCESS).is_ok()
        })
    }
}

/// What a VMM does with its files.
const WANTED: Access = Access::READ_OK.union(Access::WRITE_OK);

/// Why a stopped VM cannot start; none when all of it is there.
pub(crate) fn fault(paths: &Paths, row: &VmRow) -> Option<VmError> {
    let dir = paths.vm(&row.id);
    let name = &row.name;
    let broken = |why: String, hint: String| VmError::Broken { name: name.to_string(), why, hint };
    let files = [dir.path().to_owned(), dir.file(VmDir::COW), dir.file(VmDir::WORK)];
    if let Some((why, hint)) = files.iter().find_map(|path| trouble(path, name)) {
        return Some(broken(why, hint));
    }
    if row.is_complete() {
        let unknown = VmmKind::parse(&row.spec.vmm).is_none();
        return unknown.then(|| {
            let why = format!("this bangerd knows no VMM {:?}", row.spec.vmm);
            broken(why, "a newer banger made it: use that one".into())
        });
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

/// Why a file of VM `name` is of no use, and what to do about it. Nobody is told to delete what is only out
/// of reach.
fn trouble(path: &Path, name: &VmName) -> Option<(String, String)> {
    let shown = path.display();
    match access(path, WANTED) {
        Ok(()) => None,
        Err(Errno::NOENT) => Some((
            format!("{shown} is gone"),
            format!("put it back, if there is a copy; `banger vm delete {name}` removes what is left"),
        )),
        Err(Errno::ROFS) => Some((
            format!("the file system of {shown} is read-only"),
            "mount it so that it can be written, or see in dmesg why it cannot".into(),
        )),
        Err(errno) => Some((
            format!("{shown} cannot be used: {errno}"),
            "make it readable and writable for you; nothing is wrong with what is in it".into(),
        )),
    }
}
