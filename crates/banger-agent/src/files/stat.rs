use banger_guest_protocol::messages::{FileAt, FileKind, FileStat};
use rustix::fs::FileType;

use super::error::{FileError, printable};

pub(super) fn stat(what: &FileAt) -> Result<FileStat, FileError> {
    let path = what.path.as_bytes();
    if !path.starts_with(b"/") {
        return Err(FileError::NotAbsolute { path: printable(path) });
    }
    let found = rustix::fs::stat(path).map_err(|errno| FileError::at("look at", path, errno))?;
    let kind = match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile => FileKind::File,
        FileType::Directory => FileKind::Directory,
        _ => FileKind::Other,
    };
    Ok(FileStat { kind })
}
