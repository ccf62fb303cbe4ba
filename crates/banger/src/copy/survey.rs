use std::os::unix::fs::MetadataExt as _;

use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::{CopyError, Remarks, Source};
use crate::ui::file_name;

/// How many names of unreadable files are told; a long list is not read.
const NAMED: usize = 10;

/// What there is to send.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Survey {
    /// What all files contain, holes aside.
    pub(crate) bytes: u64,
    /// What stays behind: sockets, FIFOs and devices, and other file systems.
    pub(crate) remarks: Remarks,
}

/// Looks at everything, so that what cannot be read is known before anything is sent.
///
/// # Errors
///
/// When something cannot be read.
pub(crate) fn survey(source: &Source) -> Result<Survey, CopyError> {
    let mut survey = Survey::default();
    let (mut unreadable, mut more) = (Vec::new(), 0);
    for found in source.walk(b"") {
        let (path, readable) = match found {
            Ok(found) if found.metadata.is_file() => {
                survey.bytes += found.metadata.len().min(found.metadata.blocks() * 512);
                let readable = accessat(CWD, &found.path, Access::READ_OK, AtFlags::EACCESS).is_ok();
                (found.path, readable)
            }
            Ok(found) if found.is_mount => {
                survey.remarks.mounts.push(file_name(found.path));
                continue;
            }
            Ok(found) if found.metadata.is_dir() || found.metadata.is_symlink() => continue,
            Ok(found) => {
                survey.remarks.skipped.push(file_name(found.path));
                continue;
            }
            // Whoever packs will meet it again, and tell.
            Err(CopyError::Vanished { .. } | CopyError::Dangling { .. } | CopyError::Loop { .. }) => continue,
            Err(CopyError::Io { path, source, .. })
                if source.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                (path, false)
            }
            Err(error) => return Err(error),
        };
        if !readable {
            if unreadable.len() < NAMED { unreadable.push(path) } else { more += 1 }
        }
    }
    if unreadable.is_empty() { Ok(survey) } else { Err(CopyError::Unreadable { paths: unreadable, more }) }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn bytes_are_counted_and_odd_things_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("d")).unwrap();
        fs::write(dir.path().join("d/a"), [7; 5000]).unwrap();
        let sparse = fs::File::create(dir.path().join("b")).unwrap();
        sparse.set_len(1 << 40).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("d/socket")).unwrap();
        let survey = survey(&Source::find(dir.path(), false).unwrap()).unwrap();
        assert_eq!(survey.bytes, 5000);
        assert_eq!(survey.remarks.skipped.named, [file_name(dir.path().join("d/socket"))]);
        assert!(survey.remarks.mounts.is_empty());
    }
}
