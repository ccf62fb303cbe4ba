//! Records: what an image, a kernel or a VM is, as a small JSON file beside its own files.
//!
//! The store answers queries. The records are there for the day on which the store is lost, empty or older
//! than the directories: then everything is known again from what lies beside the disks.

use std::path::{Path, PathBuf};

use banger_host::files::{FileError, write_atomic};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Goes up when an older banger could misunderstand what is written.
const FORMAT: u32 = 1;

/// A record is a few KiB; what is larger was not written by us.
const MAX_BYTES: u64 = 4 << 20;

#[derive(Serialize)]
struct Written<'a, T> {
    format: u32,
    content: &'a T,
}

/// Read before the content, which may be of another shape in another format.
#[derive(Deserialize)]
struct Head {
    format: u32,
}

#[derive(Deserialize)]
struct Content<T> {
    content: T,
}

/// Why a record tells nothing.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("{} is missing", .0.display())]
    Missing(PathBuf),
    #[error("could not read {}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{} is no record of banger's", path.display())]
    Unreadable { path: PathBuf, source: serde_json::Error },
    #[error("{} is larger than any record", .0.display())]
    TooLarge(PathBuf),
    #[error("{} is of a newer banger (format {format})", path.display())]
    Newer { path: PathBuf, format: u32 },
    #[error("{} is about another one: {other}", path.display())]
    Another { path: PathBuf, other: String },
}

/// Writes a record, whole or not at all.
///
/// # Errors
///
/// When the file cannot be written.
pub fn write<T: Serialize>(path: &Path, content: &T) -> Result<(), FileError> {
    let json = serde_json::to_vec_pretty(&Written { format: FORMAT, content }).map_err(|error| {
        FileError::Io { action: "put into JSON", path: path.into(), source: error.into() }
    })?;
    write_atomic(path, &json, 0o600)
}

/// # Errors
///
/// When there is none that this build can read.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T, RecordError> {
    let bytes = read_bytes(path)?;
    let unreadable = |source| RecordError::Unreadable { path: path.into(), source };
    let head: Head = serde_json::from_slice(&bytes).map_err(unreadable)?;
    if head.format > FORMAT {
        return Err(RecordError::Newer { path: path.into(), format: head.format });
    }
    let content: Content<T> = serde_json::from_slice(&bytes).map_err(unreadable)?;
    Ok(content.content)
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, RecordError> {
    let failed = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound => RecordError::Missing(path.into()),
        _ => RecordError::Read { path: path.into(), source },
    };
    let found = path.symlink_metadata().map_err(failed)?;
    if !found.is_file() || found.len() > MAX_BYTES {
        return Err(RecordError::TooLarge(path.into()));
    }
    std::fs::read(path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_and_everything_else_is_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vm.json");
        assert!(matches!(read::<String>(&path), Err(RecordError::Missing(_))));
        write(&path, &"one".to_owned()).unwrap();
        assert_eq!(read::<String>(&path).unwrap(), "one");
        for broken in ["", "{", "{}", r#"{"format":1}"#, r#"{"format":1,"content":7}"#, "\0\0\0"] {
            std::fs::write(&path, broken).unwrap();
            assert!(matches!(read::<String>(&path), Err(RecordError::Unreadable { .. })), "{broken:?}");
        }
        std::fs::write(&path, r#"{"format":2,"content":{"other":"shape"}}"#).unwrap();
        assert!(matches!(read::<String>(&path), Err(RecordError::Newer { format: 2, .. })));
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(read::<String>(&path).is_err());
    }
}
