//! Directories that every system has and an image for containers may lack.

use std::path::Path;

use rustix::fs::{Mode, fchmod, fstat};

use super::guest_root::{GuestRoot, descriptor_path};
use crate::console;
use crate::system_error::{Context, SystemError};

/// Everybody's, where only the owner of a file removes it.
const SHARED: Mode = Mode::from_raw_mode(0o1777);

const PLAIN: Mode = Mode::from_raw_mode(0o755);

/// Makes `/etc` and `/tmp` usable. Answers what could not be done: a VM without them is of use still.
pub(super) fn prepare(root: &GuestRoot) -> Vec<String> {
    let etc = root.claim_dir(Path::new("/etc"), PLAIN).map(drop);
    let results = [etc, share(root, Path::new("/tmp"))];
    results.iter().filter_map(|result| result.as_ref().err()).map(|error| console::one_line(error)).collect()
}

fn share(root: &GuestRoot, path: &Path) -> Result<(), SystemError> {
    let dir = root.claim_dir(path, SHARED)?;
    let set_mode = || {
        if Mode::from_raw_mode(fstat(&dir)?.st_mode) == SHARED {
            return Ok(());
        }
        // The descriptor stands for a place, and is not open for changes.
        let open = rustix::fs::open(descriptor_path(&dir), rustix::fs::OFlags::RDONLY, Mode::empty())?;
        fchmod(&open, SHARED)
    };
    set_mode().context("set the mode of", path.display())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::super::guest_root::in_directory;
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn an_empty_image_gets_them() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(prepare(&in_directory(dir.path())), [""; 0]);
        assert_eq!((mode(&dir.path().join("etc")), mode(&dir.path().join("tmp"))), (0o755, 0o1777));
    }

    #[test]
    fn what_is_there_is_kept_and_made_usable() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("var/tmp")).unwrap();
        fs::write(dir.path().join("var/tmp/kept"), "").unwrap();
        symlink("/var/tmp", dir.path().join("tmp")).unwrap();
        fs::write(dir.path().join("etc"), "no directory").unwrap();
        assert_eq!(prepare(&in_directory(dir.path())), [""; 0]);
        assert!(dir.path().join("etc").is_dir() && dir.path().join("var/tmp/kept").exists());
        assert_eq!(mode(&dir.path().join("var/tmp")), 0o1777);
        assert!(fs::symlink_metadata(dir.path().join("tmp")).unwrap().is_symlink());
    }
}
