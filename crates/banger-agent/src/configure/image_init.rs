//! Does the image bring an init worth starting?
//!
//! Only `/sbin/init` counts, as an executable regular file (its links resolved inside the root). busybox's init is there in
//! every busybox or alpine image, made for containers that never use it: it counts only when `/etc/inittab` exists and every
//! program that its `sysinit` lines start exists too (alpine's container image names an openrc that it lacks).

use std::path::Path;

use rustix::fs::{FileType, OFlags, Stat, fstat};

use super::guest_root::GuestRoot;
use crate::system_error::{Context as _, SystemError};

const INIT: &str = "/sbin/init";

/// systemd keeps what was there before it in one scope with itself.
const INIT_SCOPE_SETTINGS: &str = "/run/systemd/system/init.scope.d/50-banger.conf";

/// Keeps systemd from ending the agent and everything that runs in the VM when one command runs out of memory: its scopes end as
/// a whole then, and the agent is in one with its commands. Means nothing to other inits.
pub(super) fn spare_the_agent() -> Result<(), SystemError> {
    let path = Path::new(INIT_SCOPE_SETTINGS);
    let write = || {
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
        std::fs::write(path, "[Scope]\nOOMPolicy=continue\n")
    };
    write().context("write", path.display())
}

/// The image's init program, if it has a usable one.
pub(super) fn find(root: &GuestRoot) -> Option<String> {
    let init = executable(root, INIT)?;
    let busybox = executable(root, "/bin/busybox");
    let is_busybox =
        busybox.is_some_and(|busybox| (busybox.st_dev, busybox.st_ino) == (init.st_dev, init.st_ino));
    if is_busybox {
        let inittab = root.read(Path::new("/etc/inittab")).ok().flatten()?;
        let programs = sysinit_programs(&String::from_utf8_lossy(&inittab));
        if !programs.iter().all(|program| executable(root, program).is_some()) {
            return None;
        }
    }
    Some(INIT.to_owned())
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

    fn program(path: &Path, mode: u32) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn an_init_behind_links_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let root = in_directory(dir.path());
        assert_eq!(find(&root), None);
        program(&dir.path().join("usr/lib/systemd/systemd"), 0o755);
        fs::create_dir_all(dir.path().join("usr/sbin")).unwrap();
        symlink("usr/sbin", dir.path().join("sbin")).unwrap();
        symlink("/lib/systemd/systemd", dir.path().join("usr/sbin/init")).unwrap();
        assert_eq!(find(&root), None, "dangling");
        symlink("usr/lib", dir.path().join("lib")).unwrap();
        assert_eq!(find(&root).as_deref(), Some("/sbin/init"));
    }

    #[test]
    fn what_cannot_be_executed_is_no_init() {
        let dir = tempfile::tempdir().unwrap();
        program(&dir.path().join("sbin/init"), 0o644);
        assert_eq!(find(&in_directory(dir.path())), None);
    }

    #[test]
    fn busybox_needs_an_inittab_that_works() {
        let dir = tempfile::tempdir().unwrap();
        let root = in_directory(dir.path());
        program(&dir.path().join("bin/busybox"), 0o755);
        fs::create_dir_all(dir.path().join("sbin")).unwrap();
        symlink("/bin/busybox", dir.path().join("sbin/init")).unwrap();
        fs::create_dir(dir.path().join("etc")).unwrap();
        assert_eq!(find(&root), None);
        fs::write(dir.path().join("etc/inittab"), "# x\n::sysinit:/sbin/openrc sysinit\n::wait:/bin/gone\n")
            .unwrap();
        assert_eq!(find(&root), None);
        program(&dir.path().join("sbin/openrc"), 0o755);
        assert_eq!(find(&root).as_deref(), Some("/sbin/init"));
    }

    proptest! {
        #[test]
        fn any_inittab_is_survived(text in "(:|sysinit|/|-|\\n| |[a-z]){0,60}") {
            prop_assert!(sysinit_programs(&text).iter().all(|program| program.starts_with('/')));
        }
    }
}
