//! `/root` on a disk of its own, which starts with what the image has in `/root`.
//!
//! The first use is told by an extended attribute on the disk's top directory. The image's files are copied
//! into a staging directory first and renamed from there, so that a boot cut off half-way leaves only whole
//! files, and is made good by the next.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, XattrFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};

use super::disks::Disk;
use super::guest_root::{GuestRoot, descriptor_path};
use crate::system_error::{Context, SystemError};

const STAGE: &str = "/work";
const STAGING_NAME: &str = ".banger-seed";
const SEEDED: &str = "trusted.banger.seeded";

/// Mounts the work disk at the image's `/root`, filling it on its first use.
pub(super) fn mount_at_root(disk: &Disk, root: &GuestRoot) -> Result<(), SystemError> {
    let work = Path::new(STAGE);
    fs::create_dir_all(work).context("create", STAGE)?;
    mount(&disk.device, work, "ext4", MountFlags::empty(), None)
        .context("mount the work disk", disk.device.display())?;
    let home = root.claim_dir(Path::new("/root"), Mode::from_raw_mode(0o700))?;
    if !is_seeded(work)? {
        seed(Path::new(&descriptor_path(&home)), work)
            .context("copy the image's /root to", disk.device.display())?;
        rustix::fs::setxattr(work, SEEDED, b"1", XattrFlags::empty())
            .context("mark", disk.device.display())?;
    }
    rustix::mount::mount_move(work, descriptor_path(&home)).context("mount the work disk at", "/root")
}

fn is_seeded(work: &Path) -> Result<bool, SystemError> {
    match rustix::fs::getxattr(work, SEEDED, &mut [0u8; 8]) {
        Ok(_) => Ok(true),
        Err(Errno::NODATA) => Ok(false),
        Err(errno) => Err(SystemError::new("read the mark of", STAGE, errno)),
    }
}

fn seed(image_home: &Path, work: &Path) -> io::Result<()> {
    let staging = work.join(STAGING_NAME);
    if staging.exists() {
        fs::remove_dir_all(&staging)?;
    }
    fs::create_dir(&staging)?;
    copy_entries(image_home, &staging)?;
    copy_owner_and_mode(image_home, work)?;
    // The files must be on the disk before their names are.
    let dir = rustix::fs::open(work, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::fs::syncfs(&dir)?;
    for entry in fs::read_dir(&staging)? {
        let entry = entry?;
        let target = work.join(entry.file_name());
        // What the disk has already is the user's.
        if fs::symlink_metadata(&target).is_err() {
            fs::rename(entry.path(), target)?;
        }
    }
    fs::remove_dir_all(&staging)
}

/// Copies a directory's entries with modes, owners and links. Sockets, pipes and devices do not belong in a
/// home directory.
fn copy_entries(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let found = entry.metadata()?;
        match FileType::from_raw_mode(found.mode()) {
            FileType::Directory => {
                fs::create_dir(&target)?;
                copy_entries(&source, &target)?;
                copy_owner_and_mode(&source, &target)?;
            }
            FileType::RegularFile => {
                fs::copy(&source, &target)?;
                copy_owner_and_mode(&source, &target)?;
            }
            FileType::Symlink => {
                symlink(fs::read_link(&source)?, &target)?;
                lchown(&target, Some(found.uid()), Some(found.gid()))?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn copy_owner_and_mode(from: &Path, to: &Path) -> io::Result<()> {
    let found = fs::metadata(from)?;
    chown(to, Some(found.uid()), Some(found.gid()))?;
    // After the owner: changing that clears set-id bits.
    fs::set_permissions(to, fs::Permissions::from_mode(found.mode() & 0o7777))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_images_home_is_copied_as_it_is() {
        let image = tempfile::tempdir().unwrap();
        let work = tempfile::tempdir().unwrap();
        fs::create_dir(work.path().join("lost+found")).unwrap();
        fs::write(image.path().join(".bashrc"), "alias ll='ls -l'").unwrap();
        fs::create_dir(image.path().join(".ssh")).unwrap();
        fs::write(image.path().join(".ssh/id"), "key").unwrap();
        fs::set_permissions(image.path().join(".ssh/id"), fs::Permissions::from_mode(0o600)).unwrap();
        symlink("/nowhere", image.path().join("link")).unwrap();
        fs::set_permissions(image.path(), fs::Permissions::from_mode(0o700)).unwrap();
        // A boot that was cut off left these behind.
        fs::create_dir(work.path().join(STAGING_NAME)).unwrap();
        fs::write(work.path().join(STAGING_NAME).join("half"), "ha").unwrap();

        seed(image.path(), work.path()).unwrap();

        assert_eq!(fs::read(work.path().join(".bashrc")).unwrap(), b"alias ll='ls -l'");
        assert_eq!(fs::metadata(work.path().join(".ssh/id")).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_link(work.path().join("link")).unwrap(), Path::new("/nowhere"));
        assert_eq!(fs::metadata(work.path()).unwrap().mode() & 0o7777, 0o700);
        let mut names: Vec<_> = fs::read_dir(work.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, [".bashrc", ".ssh", "link", "lost+found"]);
    }

    #[test]
    fn what_the_disk_has_stays() {
        let image = tempfile::tempdir().unwrap();
        let work = tempfile::tempdir().unwrap();
        fs::write(image.path().join("notes"), "the image's").unwrap();
        fs::write(work.path().join("notes"), "the user's").unwrap();
        seed(image.path(), work.path()).unwrap();
        assert_eq!(fs::read(work.path().join("notes")).unwrap(), b"the user's");
    }
}
