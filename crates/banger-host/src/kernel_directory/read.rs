use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;

use super::KernelDirectoryError;

/// Opens a regular file; answers its length as well. A symlink at its end is followed.
pub(super) fn open(path: &Path) -> Result<(File, u64), KernelDirectoryError> {
    let failed = |source| KernelDirectoryError::Io { action: "read", path: path.into(), source };
    // NONBLOCK: a FIFO must not make us wait for its writer.
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    if !meta.is_file() {
        return Err(KernelDirectoryError::NotFile(path.into()));
    }
    Ok((file, meta.len()))
}

/// A whole file of at most `max` bytes.
pub(super) fn read(path: &Path, max: u64) -> Result<Vec<u8>, KernelDirectoryError> {
    let (file, len) = open(path)?;
    if len > max {
        return Err(KernelDirectoryError::TooLarge { path: path.into(), len, max });
    }
    let mut bytes = Vec::new();
    let read = file.take(max).read_to_end(&mut bytes);
    read.map_err(|source| KernelDirectoryError::Io { action: "read", path: path.into(), source })?;
    Ok(bytes)
}

/// A text file; none when there is none.
pub(super) fn read_text(path: &Path, max: u64) -> Result<Option<String>, KernelDirectoryError> {
    match read(path, max) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(KernelDirectoryError::Io { source, .. }) if is_absent(&source) => Ok(None),
        Err(error) => Err(error),
    }
}

pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
