//! The image's root, while it is assembled and later.
//!
//! An image is foreign: its symlinks may point anywhere. Every path is resolved by the kernel inside the root
//! (`RESOLVE_IN_ROOT`), and files are replaced by rename, never written through what lies there.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, mkdirat, openat2, readlinkat, renameat, unlinkat};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};

use super::disks::Disk;
use crate::system_error::{Context, SystemError};

/// Larger files of an image's (hosts, inittab) are not read.
const READ_MAX_LEN: u64 = 16 * 1024 * 1024;

/// How many dangling links may lead from one to the next.
const LINKS_MAX: usize = 8;

/// What begins the name of a directory that was in a file's place.
const REPLACED: &str = ".banger-replaced-";

/// A mounted root.
#[derive(Debug)]
pub(super) struct GuestRoot {
    dir: OwnedFd,
    mount_point: PathBuf,
}

impl GuestRoot {
    /// Mounts the ext4 filesystem on `device` at `mount_point`.
    pub(super) fn mount(device: &Path, mount_point: &Path) -> Result<Self, SystemError> {
        fs::create_dir_all(mount_point).context("create", mount_point.display())?;
        mount(device, mount_point, "ext4", MountFlags::empty(), None)
            .context("mount the root from", device.display())?;
        Self::open(mount_point)
    }

    /// A root that is there already.
    pub(super) fn open(mount_point: &Path) -> Result<Self, SystemError> {
        let dir =
            rustix::fs::open(mount_point, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
                .context("open", mount_point.display())?;
        Ok(Self { dir, mount_point: mount_point.to_owned() })
    }

    pub(super) fn mount_point(&self) -> &Path {
        &self.mount_point
    }

    /// Opens a path inside the root, following its links inside the root.
    pub(super) fn open_inside(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        openat2(&self.dir, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
    }

    /// Reads a small file; none when there is no such (regular) file. A large one is an error: written back
    /// it would be cut.
    pub(super) fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, SystemError> {
        let fd = match self.open_inside(path, OFlags::RDONLY | OFlags::NONBLOCK) {
            Ok(fd) => fd,
            Err(_) => return Ok(None),
        };
        let file = fs::File::from(fd);
        match file.metadata() {
            Ok(found) if found.is_file() && found.len() > READ_MAX_LEN => {
                let error = io::Error::from(io::ErrorKind::FileTooLarge);
                return Err(SystemError::new("read", path.display(), error));
            }
            Ok(found) if found.is_file() => {}
            _ => return Ok(None),
        }
        let mut bytes = Vec::new();
        file.take(READ_MAX_LEN).read_to_end(&mut bytes).context("read", path.display())?;
        Ok(Some(bytes))
    }

    /// Opens a directory, making it and its parents when they are missing. Where a link leads nowhere, that
    /// is made.
    pub(super) fn ensure_dir(&self, path: &Path, mode: Mode) -> Result<OwnedFd, SystemError> {
        self.make_dirs(path, mode, LINKS_MAX).context("make the directory", path.display())
    }

    fn make_dirs(&self, path: &Path, mode: Mode, links: usize) -> io::Result<OwnedFd> {
        let mut so_far = PathBuf::from("/");
        let open = |path: &Path| self.open_inside(path, OFlags::PATH | OFlags::DIRECTORY);
        let mut dir = open(&so_far)?;
        for component in path.components() {
            match component {
                Component::Normal(name) => so_far.push(name),
                Component::ParentDir => {
                    so_far.pop();
                }
                _ => continue,
            }
            dir = match (open(&so_far), component) {
                (Err(Errno::NOENT), Component::Normal(name)) => match mkdirat(&dir, name, mode) {
                    Ok(()) => open(&so_far)?,
                    // A link that leads nowhere.
                    Err(Errno::EXIST) if links > 0 => {
                        let target = readlinkat(&dir, name, Vec::new())?;
                        let target = Path::new(OsStr::from_bytes(target.as_bytes()));
                        let parent = so_far.parent().unwrap_or(Path::new("/"));
                        self.make_dirs(&parent.join(target), mode, links - 1)?
                    }
                    Err(errno) => return Err(errno.into()),
                },
                (result, _) => result?,
            };
        }
        Ok(dir)
    }

    /// A directory right below the root that must be one: what else is there goes.
    pub(super) fn claim_dir(&self, path: &Path, mode: Mode) -> Result<OwnedFd, SystemError> {
        let refused = match self.ensure_dir(path, mode) {
            Ok(dir) => return Ok(dir),
            Err(error) => error,
        };
        let name = path.strip_prefix("/").unwrap_or(path);
        match unlinkat(&self.dir, name, AtFlags::empty()) {
            Ok(()) => self.ensure_dir(path, mode),
            Err(_) => Err(refused),
        }
    }

    /// Puts a file in place of whatever is there. Does nothing when it is there already.
    pub(super) fn write(&self, path: &Path, content: &[u8], mode: Mode) -> Result<(), SystemError> {
        let parent = path.parent().unwrap_or(Path::new("/"));
        let name = path
            .file_name()
            .ok_or(io::Error::from(io::ErrorKind::InvalidInput))
            .context("write", path.display())?;
        let dir = self.ensure_dir(parent, Mode::from_raw_mode(0o755))?;
        if is_same(&dir, name, content, mode) {
            return Ok(());
        }
        let mut temporary = OsString::from(".banger-");
        temporary.push(name);
        let write = || -> io::Result<()> {
            // A left-over of a boot that was cut off.
            let _left_over = unlinkat(&dir, &temporary, AtFlags::empty());
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut file = fs::File::from(rustix::fs::openat(&dir, &temporary, flags, mode)?);
            rustix::fs::fchmod(&file, mode)?;
            file.write_all(content)?;
            match renameat(&dir, &temporary, &dir, name) {
                Err(Errno::ISDIR) => {
                    make_way(&dir, name)?;
                    Ok(renameat(&dir, &temporary, &dir, name)?)
                }
                result => Ok(result?),
            }
        };
        write().context("write", path.display())
    }

    /// Removes a file, if there is one.
    pub(super) fn remove(&self, path: &Path) -> Result<(), SystemError> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
        let remove = || match self.open_inside(parent, OFlags::PATH | OFlags::DIRECTORY) {
            Ok(dir) => unlinkat(&dir, name, AtFlags::empty()),
            Err(errno) => Err(errno),
        };
        match remove() {
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
            removed => removed.context("remove", path.display()),
        }
    }

    /// Mounts a disk read-only inside the root.
    pub(super) fn mount_ext4_read_only(&self, disk: &Disk, at: &Path) -> Result<(), SystemError> {
        let dir = self.ensure_dir(at, Mode::from_raw_mode(0o755))?;
        mount(&disk.device, descriptor_path(&dir), "ext4", MountFlags::RDONLY, None).context(
            "mount read-only at",
            format_args!("{} the disk {}", at.display(), disk.device.display()),
        )
    }

    /// Moves a mount from outside to a directory inside the root.
    pub(super) fn move_mount(&self, from: &Path, to: &Path, mode: Mode) -> Result<(), SystemError> {
        let dir = self.claim_dir(to, mode)?;
        rustix::mount::mount_move(from, descriptor_path(&dir))
            .context("move into the new root the mount", from.display())
    }
}

/// Removes an empty directory that is in a file's place; one with content goes aside.
fn make_way(dir: &OwnedFd, name: &OsStr) -> io::Result<()> {
    if unlinkat(dir, name, AtFlags::REMOVEDIR).is_ok() {
        return Ok(());
    }
    let mut aside = OsString::from(REPLACED);
    aside.push(name);
    Ok(renameat(dir, name, dir, &aside)?)
}

/// A name for a directory that is open, which no symlink can redirect.
pub(super) fn descriptor_path(dir: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", dir.as_raw_fd())
}

fn is_same(dir: &OwnedFd, name: &OsStr, content: &[u8], mode: Mode) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(fd) = rustix::fs::openat(dir, name, flags, Mode::empty()) else { return false };
    let Ok(found) = rustix::fs::fstat(&fd) else { return false };
    let file = fs::File::from(fd);
    let same_kind = file.metadata().is_ok_and(|found| found.is_file() && found.len() == content.len() as u64);
    let mut bytes = Vec::new();
    same_kind
        && Mode::from_raw_mode(found.st_mode) == mode
        && file.take(READ_MAX_LEN).read_to_end(&mut bytes).is_ok()
        && bytes == content
}

/// A root that is an ordinary directory.
#[cfg(test)]
pub(super) fn in_directory(dir: &Path) -> GuestRoot {
    GuestRoot::open(dir).unwrap()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    const MODE: u32 = 0o640;

    #[test]
    fn links_never_lead_out_of_the_root() {
        let outside = tempfile::tempdir().unwrap();
        let inside = tempfile::tempdir().unwrap();
        let root = in_directory(inside.path());
        symlink(outside.path(), inside.path().join("absolute")).unwrap();
        symlink("../../../../../..", inside.path().join("up")).unwrap();
        for path in ["/absolute/x", "/up/y"] {
            // What the link names may not exist inside: then it is an error, but never a file outside.
            let _refused = root.write(Path::new(path), b"secret", Mode::from_raw_mode(MODE));
        }
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
        assert_eq!(fs::read(inside.path().join("y")).unwrap(), b"secret");
    }

    #[test]
    fn a_link_is_replaced_by_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let root = in_directory(dir.path());
        fs::create_dir(dir.path().join("etc")).unwrap();
        symlink("../run/gone", dir.path().join("etc/resolv.conf")).unwrap();
        root.write(Path::new("/etc/resolv.conf"), b"text", Mode::from_raw_mode(MODE)).unwrap();
        let found = fs::symlink_metadata(dir.path().join("etc/resolv.conf")).unwrap();
        assert!(found.is_file());
        assert_eq!(found.permissions().mode() & 0o7777, MODE);
        assert_eq!(root.read(Path::new("/etc/resolv.conf")).unwrap().unwrap(), b"text");
        assert_eq!(fs::read_dir(dir.path().join("etc")).unwrap().count(), 1);
    }

    #[test]
    fn a_directory_in_a_files_place_makes_way() {
        let dir = tempfile::tempdir().unwrap();
        let root = in_directory(dir.path());
        fs::create_dir_all(dir.path().join("etc/hosts")).unwrap();
        fs::create_dir_all(dir.path().join("etc/resolv.conf/kept")).unwrap();
        for name in ["hosts", "resolv.conf"] {
            let path = Path::new("/etc").join(name);
            root.write(&path, b"text", Mode::from_raw_mode(MODE)).unwrap();
            assert_eq!(root.read(&path).unwrap().unwrap(), b"text");
        }
        assert!(dir.path().join("etc/.banger-replaced-resolv.conf/kept").is_dir());
        assert!(!dir.path().join("etc/.banger-replaced-hosts").exists());
    }

    #[test]
    fn links_that_lead_nowhere_get_their_directory_inside_the_root() {
        let dir = tempfile::tempdir().unwrap();
        let root = in_directory(dir.path());
        symlink("usr/lib", dir.path().join("lib")).unwrap();
        symlink("/var/../srv/home", dir.path().join("root")).unwrap();
        symlink("../../run/x", dir.path().join("up")).unwrap();
        symlink("loop", dir.path().join("loop")).unwrap();
        for path in ["/lib/modules", "/root/a", "/up/a"] {
            root.ensure_dir(Path::new(path), Mode::from_raw_mode(0o755)).unwrap();
        }
        for path in ["usr/lib/modules", "srv/home/a", "run/x/a"] {
            assert!(dir.path().join(path).is_dir(), "{path}");
        }
        assert!(root.ensure_dir(Path::new("/loop/a"), Mode::from_raw_mode(0o755)).is_err());
    }

    #[test]
    fn chains_of_dangling_links_end() {
        let dir = tempfile::tempdir().unwrap();
        let root = in_directory(dir.path());
        for n in 0..40 {
            symlink(format!("/l{}/x", n + 1), dir.path().join(format!("l{n}"))).unwrap();
        }
        assert!(root.ensure_dir(Path::new("/l0"), Mode::from_raw_mode(0o755)).is_err());
    }

    #[test]
    fn what_must_be_a_directory_becomes_one() {
        let dir = tempfile::tempdir().unwrap();
        let root = in_directory(dir.path());
        fs::write(dir.path().join("dev"), "").unwrap();
        symlink("proc", dir.path().join("proc")).unwrap();
        for path in ["/dev", "/proc", "/sys"] {
            root.claim_dir(Path::new(path), Mode::from_raw_mode(0o755)).unwrap();
            assert!(fs::symlink_metadata(dir.path().join(&path[1..])).unwrap().is_dir());
        }
    }

    #[test]
    fn a_file_that_is_too_large_is_not_cut() {
        let dir = tempfile::tempdir().unwrap();
        fs::File::create(dir.path().join("hosts")).unwrap().set_len(READ_MAX_LEN + 1).unwrap();
        assert!(in_directory(dir.path()).read(Path::new("/hosts")).is_err());
    }

    #[test]
    fn directories_are_made_through_links_of_the_image() {
        let dir = tempfile::tempdir().unwrap();
        let root = in_directory(dir.path());
        fs::create_dir_all(dir.path().join("usr/lib")).unwrap();
        symlink("usr/lib", dir.path().join("lib")).unwrap();
        root.ensure_dir(Path::new("/lib/modules"), Mode::from_raw_mode(0o755)).unwrap();
        assert!(dir.path().join("usr/lib/modules").is_dir());
        assert_eq!(root.read(Path::new("/lib/modules")).unwrap(), None);
    }
}
