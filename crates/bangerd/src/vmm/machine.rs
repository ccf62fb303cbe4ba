use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use banger_api::vm::Acceleration;
use banger_host::files::FileError;

use crate::identity::VmId;
use crate::paths::VmDir;

/// Everything a VMM must know to boot a VM.
///
/// All files are named as they are in the VM's directory, which is the VMM's working directory: what is
/// shared by several VMs is a link there ([`Shared::link`]). So a snapshot, which reopens what it names, can
/// be used in another VM's directory.
#[derive(Clone, Debug)]
pub struct Machine {
    pub id: VmId,
    pub vcpu: u32,
    pub memory_mib: u64,
    pub acceleration: Acceleration,
    /// The host's time stamp counter in kHz, when it is constant.
    pub tsc_khz: Option<u64>,
    pub kernel: Kernel,
    pub disks: Vec<Disk>,
    /// It has a port to a gateway, over which its network runs.
    pub has_gateway: bool,
}

/// What is booted, by name in the VM's directory.
#[derive(Clone, Copy, Debug)]
pub struct Kernel {
    pub vmlinux: &'static str,
    pub initramfs: &'static str,
}

/// A block device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    pub role: DiskRole,
    /// Its name in the VM's directory.
    pub file: &'static str,
    pub access: Access,
}

/// What a disk is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskRole {
    /// The image, shared by all its VMs.
    Base,
    /// The VM's changes to it.
    Cow,
    /// The VM's `/root`.
    Work,
    /// The kernel's modules, shared as well.
    Modules,
}

impl DiskRole {
    pub fn name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Cow => "cow",
            Self::Work => "work",
            Self::Modules => "modules",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    ReadOnly,
    ReadWrite,
}

impl Machine {
    /// What every VM boots.
    pub const KERNEL: Kernel = Kernel { vmlinux: VmDir::VMLINUX, initramfs: VmDir::INITRAMFS };

    /// What every VM has.
    pub const DISKS: [Disk; 4] = [
        Disk { role: DiskRole::Base, file: VmDir::IMAGE, access: Access::ReadOnly },
        Disk { role: DiskRole::Cow, file: VmDir::COW, access: Access::ReadWrite },
        Disk { role: DiskRole::Work, file: VmDir::WORK, access: Access::ReadWrite },
        Disk { role: DiskRole::Modules, file: VmDir::MODULES, access: Access::ReadOnly },
    ];

    /// The files that its VMM reads and never writes.
    pub(super) fn read_only_files(&self) -> impl Iterator<Item = &'static str> {
        let disks = self.disks_with(Access::ReadOnly);
        [self.kernel.vmlinux, self.kernel.initramfs].into_iter().chain(disks)
    }

    /// The files of its disks that are open that way.
    pub(super) fn disks_with(&self, access: Access) -> impl Iterator<Item = &'static str> {
        self.disks.iter().filter(move |disk| disk.access == access).map(|disk| disk.file)
    }
}

/// The files that a VM shares with others.
#[derive(Clone, Debug)]
pub struct Shared {
    pub vmlinux: PathBuf,
    pub initramfs: PathBuf,
    pub image: PathBuf,
    pub modules: PathBuf,
}

impl Shared {
    /// Makes the links to them in the VM's directory, in the place of earlier ones. They go with
    /// [`VmDir::WHILE_RUNNING`].
    ///
    /// # Errors
    ///
    /// When one cannot be made.
    pub fn link(&self, dir: &VmDir) -> Result<(), FileError> {
        let links = [
            (VmDir::VMLINUX, &self.vmlinux),
            (VmDir::INITRAMFS, &self.initramfs),
            (VmDir::IMAGE, &self.image),
            (VmDir::MODULES, &self.modules),
        ];
        links.into_iter().try_for_each(|(name, target)| relink(target, &dir.file(name)))
    }
}

fn relink(target: &Path, link: &Path) -> Result<(), FileError> {
    let failed = |source| FileError::Io { action: "make the link", path: link.into(), source };
    match std::fs::remove_file(link) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    symlink(target, link).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_made_anew_and_change_no_file_that_they_lead_to() {
        let top = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let path = top.path().join(name);
            std::fs::write(&path, name).unwrap();
            path
        };
        let dir = VmDir::at(&top.path().join("vm"));
        std::fs::create_dir(dir.path()).unwrap();
        for round in ["first", "second"] {
            let shared = Shared {
                vmlinux: file(&format!("{round}-kernel")),
                initramfs: file(&format!("{round}-initramfs")),
                image: file(&format!("{round}-image")),
                modules: file(&format!("{round}-modules")),
            };
            shared.link(&dir).unwrap();
            assert_eq!(std::fs::read_to_string(dir.file(VmDir::IMAGE)).unwrap(), format!("{round}-image"));
        }
        assert_eq!(std::fs::read_to_string(top.path().join("first-kernel")).unwrap(), "first-kernel");
        let shared = || PathBuf::from("/anything");
        let shared = Shared { vmlinux: shared(), initramfs: shared(), image: shared(), modules: shared() };
        assert!(shared.link(&VmDir::at(&top.path().join("none"))).is_err());
    }
}
