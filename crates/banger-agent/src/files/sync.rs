use banger_guest_protocol::messages::FileAt;
use rustix::fs::{Mode, OFlags};

use super::error::{FileError, printable};
use crate::system_error::SystemError;

pub(super) fn sync(what: &FileAt) -> Result<(), FileError> {
    let path = what.path.as_bytes();
    if !path.starts_with(b"/") {
        return Err(FileError::NotAbsolute { path: printable(path) });
    }
    // A FIFO must not keep us waiting for its other end.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file =
        rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| FileError::at("open", path, errno))?;
    Ok(rustix::fs::syncfs(&file)
        .map_err(|errno| SystemError::new("write to disk the file system of", printable(path), errno))?)
}
