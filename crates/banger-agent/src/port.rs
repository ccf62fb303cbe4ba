//! The virtio-serial port that leads to the host.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};

use crate::system_error::{Context, SystemError};

/// How long the port may take to appear after its driver was loaded.
const APPEARANCE_TIMEOUT: Duration = Duration::from_secs(30);

/// Largest write the kernel's port driver takes at once, in bytes.
pub const WRITE_MAX_LEN: usize = 32 * 1024;

/// Why there is no port.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    #[error("no virtio-serial port named {name} appeared within {} s", APPEARANCE_TIMEOUT.as_secs())]
    Missing { name: &'static str },
    #[error(transparent)]
    System(#[from] SystemError),
}

/// Waits for the port of that name and opens it. The kernel lets it be opened once.
///
/// # Errors
///
/// When the port does not appear in time or cannot be opened.
pub fn open(name: &'static str) -> Result<OwnedFd, PortError> {
    let end = Instant::now() + APPEARANCE_TIMEOUT;
    let device = loop {
        if let Some(device) = find(Path::new("/sys/class/virtio-ports"), name) {
            break device;
        }
        if Instant::now() > end {
            return Err(PortError::Missing { name });
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let open = || -> io::Result<OwnedFd> { Ok(rustix::fs::open(&device, flags, Mode::empty())?) };
    loop {
        match open() {
            Ok(port) => return Ok(port),
            // The device node follows its sysfs entry.
            Err(error) if error.kind() == io::ErrorKind::NotFound && Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(1));
            }
            result => return Ok(result.context("open", device.display())?),
        }
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
