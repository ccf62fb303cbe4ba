//! What is written into the root before its init starts.

use std::path::{Component, Path, PathBuf};

use banger_guest_protocol::messages::GuestFile;
use rustix::fs::Mode;

use super::guest_root::GuestRoot;
use crate::system_error::SystemError;

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("{path:?} is not an absolute path without `..`")]
    Path { path: String },
    #[error(transparent)]
    System(#[from] SystemError),
}

/// Writes the host's files.
///
/// # Errors
///
/// The first that could not be written. All paths are checked before any is written.
pub(super) fn write_all(files: &[GuestFile], root: &GuestRoot) -> Result<(), FileError> {
    let files =
        files.iter().map(|file| Ok((checked(&file.path)?, file))).collect::<Result<Vec<_>, FileError>>()?;
    for (path, file) in files {
        root.write(&path, &file.content.0, Mode::from_raw_mode(file.mode & 0o7777))?;
    }
    Ok(())
}

fn checked(path: &str) -> Result<PathBuf, FileError> {
    let parsed = Path::new(path);
    let plain = parsed.components().skip(1).all(|part| matches!(part, Component::Normal(_)));
    if parsed.is_absolute() && plain && parsed.file_name().is_some() && !path.contains('\0') {
        Ok(parsed.to_owned())
    } else {
        Err(FileError::Path { path: path.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use banger_guest_protocol::messages::Blob;

    use super::super::guest_root::in_directory;
    use super::*;

    fn wanted(path: &str) -> [GuestFile; 1] {
        [GuestFile { path: path.into(), mode: 0o600, content: Blob(b"text".to_vec()) }]
    }

    #[test]
    fn missing_directories_are_made() {
        let dir = tempfile::tempdir().unwrap();
        let root = in_directory(dir.path());
        write_all(&wanted("/etc/ssh/key"), &root).unwrap();
        write_all(&wanted("/etc/ssh/key"), &root).unwrap();
        let mode = |path: &str| fs::metadata(dir.path().join(path)).unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("etc/ssh"), mode("etc/ssh/key")), (0o755, 0o600));
    }

    #[test]
    fn bad_paths_are_refused_before_anything_is_written() {
        for path in ["relative", "/etc/../x", "/", "", "/a/..", "/a\0b"] {
            let dir = tempfile::tempdir().unwrap();
            let error = write_all(&wanted(path), &in_directory(dir.path())).unwrap_err();
            assert!(matches!(error, FileError::Path { .. }), "{path:?}");
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        }
    }
}
