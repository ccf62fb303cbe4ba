//! Does the image bring an init worth starting?
//!
//! The first of [`PROGRAMS`] that is an executable regular file (its links resolved inside the root). They
//! are the kernel's own choices, but for the shell, and systemd where nobody has made the link to it. `/init`
//! is none of them: in images for containers it is some entry point.
//!
//! busybox's init is there in every busybox or alpine image, made for containers that never use it: it counts
//! only when `/etc/inittab` exists and every program that its `sysinit` lines start exists too (alpine's
//! container image names an openrc that it lacks).

use std::io::Read;
use std::path::Path;

use rustix::fs::{FileType, OFlags, Stat, fstat};

use super::guest_root::GuestRoot;

const PROGRAMS: [&str; 6] = [
    "/sbin/init",
    "/usr/sbin/init",
    "/etc/init",
    "/bin/init",
    "/usr/lib/systemd/systemd",
    "/lib/systemd/systemd",
];

/// Every build of busybox says so of itself.
const BUSYBOX_MARK: &[u8] = b"BusyBox v";

/// busybox has 1 to 2 MB; a larger program is not searched for its mark to the end.
const SEARCHED_LEN: u64 = 8 * 1024 * 1024;

/// An init of the image's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageInit {
    /// Inside the root.
    pub program: String,
    /// Leaves its filesystems as they are when it powers the machine off.
    pub is_busybox: bool,
}

/// The image's init program, if it has a usable one.
pub(super) fn find(root: &GuestRoot) -> Option<ImageInit> {
    PROGRAMS.into_iter().find_map(|program| usable(root, program))
}

fn usable(root: &GuestRoot, program: &str) -> Option<ImageInit> {
    let init = executable(root, program)?;
    let is_busybox = is_busybox(root, program, &init);
    if is_busybox {
        let inittab = root.read(Path::new("/etc/inittab")).ok().flatten()?;
        let programs = sysinit_programs(&String::from_utf8_lossy(&inittab));
        if !programs.iter().all(|program| executable(root, program).is_some()) {
            return None;
        }
    }
    Some(ImageInit { program: program.to_owned(), is_busybox })
}

/// Is it busybox, by a link of whatever kind or as a copy?
fn is_busybox(root: &GuestRoot, program: &str, init: &Stat) -> bool {
    let busybox = executable(root, "/bin/busybox");
    if busybox.is_some_and(|busybox| (busybox.st_dev, busybox.st_ino) == (init.st_dev, init.st_ino)) {
        return true;
    }
    let Ok(file) = root.open_inside(Path::new(program), OFlags::RDONLY) else { return false };
    let mut content = Vec::new();
    let read = std::fs::File::from(file).take(SEARCHED_LEN).read_to_end(&mut content);
    read.is_ok() && content.windows(BUSYBOX_MARK.len()).any(|part| part == BUSYBOX_MARK)
}

fn executable(root: &GuestRoot, path: &str) -> Option<Stat> {
    let file = root.open_inside(Path::new(path), OFlags::PATH).ok()?;
    let found = fstat(&file).ok()?;
    let regular = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile;
    (regular && found.st_mode & 0o111 != 0).then_some(found)
}

/// The absolute programs of an inittab's `sysinit` lines (`id:levels:action:process`).
fn sysinit_programs(inittab: &str) -> Vec<String> {
    let lines = inittab.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| {
            let fields: Vec<&str> = line.splitn(4, ':').collect();
            let program = fields.get(3)?.trim_start_matches('-').split_whitespace().next()?;
            (fields[2] == "sysinit" && program.starts_with('/')).then(|| program.to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use proptest::prelude::*;

    use super::super::guest_root::in_directory;
    use super::*;

    fn found(root: &GuestRoot) -> Option<String> {
        find(root).map(|init| init.program)
    }

    fn program(path: &Path, mode: u32) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn an_init_behind_links_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let root = in_directory(dir.path());
        assert_eq!(found(&root), None);
        program(&dir.path().join("usr/lib/systemd/systemd"), 0o755);
        fs::create_dir_all(dir.path().join("usr/sbin")).unwrap();
        symlink("usr/sbin", dir.path().join("sbin")).unwrap();
        symlink("/lib/systemd/systemd", dir.path().join("usr/sbin/init")).unwrap();
        assert_eq!(found(&root).as_deref(), Some("/usr/lib/systemd/systemd"), "its link is dangling");
        symlink("usr/lib", dir.path().join("lib")).unwrap();
        assert_eq!(found(&root).as_deref(), Some("/sbin/init"));
    }

    #[test]
    fn what_cannot_be_executed_is_no_init() {
        let dir = tempfile::tempdir().unwrap();
        program(&dir.path().join("sbin/init"), 0o644);
        program(&dir.path().join("init"), 0o755);
        fs::create_dir_all(dir.path().join("etc/init")).unwrap();
        assert_eq!(found(&in_directory(dir.path())), None);
        program(&dir.path().join("bin/init"), 0o755);
        assert_eq!(found(&in_directory(dir.path())).as_deref(), Some("/bin/init"));
    }

    #[test]
    fn busybox_needs_an_inittab_that_works() {
        let dir = tempfile::tempdir().unwrap();
        let root = in_directory(dir.path());
        program(&dir.path().join("bin/busybox"), 0o755);
        fs::create_dir_all(dir.path().join("sbin")).unwrap();
        symlink("/bin/busybox", dir.path().join("sbin/init")).unwrap();
        fs::create_dir(dir.path().join("etc")).unwrap();
        assert_eq!(found(&root), None);
        fs::write(dir.path().join("etc/inittab"), "# x\n::sysinit:/sbin/openrc sysinit\n::wait:/bin/gone\n")
            .unwrap();
        assert_eq!(found(&root), None);
        for name in ["sbin/openrc", "bin/gone"] {
            program(&dir.path().join(name), 0o755);
        }
        assert_eq!(find(&root), Some(ImageInit { program: "/sbin/init".into(), is_busybox: true }));
    }

    #[test]
    fn a_copy_of_busybox_is_busybox() {
        let dir = tempfile::tempdir().unwrap();
        let root = in_directory(dir.path());
        program(&dir.path().join("sbin/init"), 0o755);
        assert!(!find(&root).unwrap().is_busybox);
        fs::write(dir.path().join("sbin/init"), "\x7fELF...\0BusyBox v1.37.0 ()\0").unwrap();
        assert_eq!(find(&root), None, "it has no inittab");
    }

    proptest! {
        #[test]
        fn any_inittab_is_survived(text in "(:|sysinit|/|-|\\n| |[a-z]){0,60}") {
            prop_assert!(sysinit_programs(&text).iter().all(|program| program.starts_with('/')));
        }
    }
}
