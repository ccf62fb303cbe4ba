//! The virtio-serial port that leads to the host.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::system_error::{Context, SystemError};

/// Largest write the kernel's port driver takes at once, in bytes.
pub const WRITE_MAX_LEN: usize = 32 * 1024;

/// Opens the port of that name, once it is there. The kernel lets it be opened once.
///
/// # Errors
///
/// When it cannot be opened.
pub(crate) fn open(name: &str) -> Result<Option<OwnedFd>, SystemError> {
    let Some(device) = find(Path::new("/sys/class/virtio-ports"), name) else { return Ok(None) };
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    match rustix::fs::open(&device, flags, Mode::empty()) {
        // The device node follows its sysfs entry.
        Err(Errno::NOENT) => Ok(None),
        opened => Ok(Some(opened.context("open", device.display())?)),
    }
}

fn find(class: &Path, name: &str) -> Option<PathBuf> {
    // The kernel may not have made it yet: the caller looks again until its limit.
    fs::read_dir(class).ok()?.flatten().find_map(|entry| {
        // A device that has just gone is not it.
        let found = fs::read_to_string(entry.path().join("name")).ok()?;
        (found.trim_end() == name).then(|| Path::new("/dev").join(entry.file_name()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_found_by_its_name() {
        let class = tempfile::tempdir().unwrap();
        for (port, name) in [("vport0p1", "org.other\n"), ("vport0p2", "dev.banger.agent\n")] {
            fs::create_dir(class.path().join(port)).unwrap();
            fs::write(class.path().join(port).join("name"), name).unwrap();
        }
        assert_eq!(find(class.path(), "dev.banger.agent"), Some("/dev/vport0p2".into()));
        assert_eq!(find(class.path(), "dev.banger"), None);
    }
}
