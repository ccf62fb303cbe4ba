use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use banger_api::ErrorCode;
use banger_host::files::FileError;
use banger_host::system::{SystemError, free_disk_bytes};

use super::ArchiveError;

/// Less free space than this, and a failure is put down to it.
const FULL_BYTES: u64 = 32 << 20;

/// Why the files of an image or a kernel could not be made, or not be removed.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error("it takes {needed_mib} MiB of disk space, and only {free_mib} MiB are free in {}", path.display())]
    NoSpace { path: PathBuf, needed_mib: u64, free_mib: u64 },
    #[error("the disk is full: {} has {free_kib} KiB left", path.display())]
    DiskFull { path: PathBuf, free_kib: u64, source: Box<Self> },
    #[error("could not make {what}")]
    Make { what: &'static str, source: Box<dyn Error + Send + Sync> },
    #[error("it was cancelled")]
    Cancelled,
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    System(#[from] SystemError),
    #[error("could not {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("the work on it broke off")]
    Broken(#[from] tokio::task::JoinError),
}

impl ArtifactError {
    pub(crate) fn make<E: Error + Send + Sync + 'static>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Make { what, source: source.into() }
    }

    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    /// Puts a failure down to a full disk when the disk of `path` is full. A tool's own words do not tell reliably.
    pub(crate) fn or_disk_full(self, path: &Path) -> Self {
        match free_disk_bytes(path) {
            Ok(free) if free < FULL_BYTES && !matches!(self, Self::Cancelled) => {
                Self::DiskFull { path: path.into(), free_kib: free >> 10, source: Box::new(self) }
            }
            _ => self,
        }
    }

    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Archive(ArchiveError::NotReady { .. } | ArchiveError::NoSpace(_))
            | Self::NoSpace { .. }
            | Self::DiskFull { .. } => ErrorCode::HostNotReady,
            Self::Cancelled => ErrorCode::Cancelled,
            _ => ErrorCode::Failed,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Archive(ArchiveError::NotReady { fix: Some(fix), .. }) => fix,
            Self::Archive(ArchiveError::NotReady { fix: None, .. }) => "see `banger doctor`",
            Self::Archive(ArchiveError::NoSpace(_)) | Self::NoSpace { .. } | Self::DiskFull { .. } => {
                "free some disk space, then run the same command again: nothing half-made is left"
            }
            Self::Archive(ArchiveError::Failed(_)) => {
                "it needs Debian's archive over the network; run the same command again when that can be reached"
            }
            _ => return None,
        };
        Some(hint.into())
    }
}
