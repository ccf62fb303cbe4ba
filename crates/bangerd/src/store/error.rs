use std::path::PathBuf;

use rusqlite::ErrorCode as Code;

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("could not open the state store {}", path.display())]
    Open { path: PathBuf, source: rusqlite::Error },
    #[error("{} is {what}, not the file of a state store", path.display())]
    NoFile { path: PathBuf, what: &'static str },
    #[error("the state store {} is of a newer banger (its schema is {found}, this build knows up to {known})", path.display())]
    Newer { path: PathBuf, found: usize, known: usize },
    #[error("could not copy the state store to {}", path.display())]
    BackUp { path: PathBuf, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("could not bring the state store {} up to date", path.display())]
    Migrate { path: PathBuf, source: rusqlite_migration::Error },
    #[error("the state store could not {action}")]
    Query { action: &'static str, source: rusqlite::Error },
    #[error("the state store holds something it should not: {what}")]
    Corrupt { what: String },
}

impl StoreError {
    pub(super) fn query(action: &'static str) -> impl FnOnce(rusqlite::Error) -> Self {
        move |source| Self::Query { action, source }
    }

    /// Is it that a unique name is taken already?
    pub fn is_taken(&self) -> bool {
        matches!(self, Self::Query { source: rusqlite::Error::SqliteFailure(failure, _), .. }
            if failure.extended_code == rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE)
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        if matches!(self, Self::Newer { .. }) {
            return Some("install the newer banger again; its state store is fine".into());
        }
        let hint = match self.sqlite().and_then(rusqlite::Error::sqlite_error_code) {
            Some(Code::DatabaseBusy | Code::DatabaseLocked) => {
                "another process holds the state store (`fuser` names it); try again when it is done"
            }
            Some(Code::DiskFull | Code::SystemIoFailure) => {
                "make room on its disk, if that is full; else see in dmesg what is wrong with it"
            }
            _ => "`banger doctor` says what is wrong, and how to mend it without losing anything",
        };
        Some(hint.into())
    }

    /// Is it that there was no room to write?
    pub fn is_disk_full(&self) -> bool {
        self.sqlite().and_then(rusqlite::Error::sqlite_error).is_some_and(|failure| {
            failure.code == Code::DiskFull || failure.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE
        })
    }

    /// Does another process hold it?
    pub fn is_busy(&self) -> bool {
        self.sqlite().and_then(rusqlite::Error::sqlite_error_code) == Some(Code::DatabaseBusy)
    }

    /// Is it the store's content that is no use? Otherwise it is what surrounds it, and the store is as good
    /// as before: a full disk, a mode, another process.
    pub fn is_damage(&self) -> bool {
        const SURROUNDINGS: &[Code] = &[
            Code::CannotOpen,
            Code::DatabaseBusy,
            Code::DatabaseLocked,
            Code::DiskFull,
            Code::FileLockingProtocolFailed,
            Code::OutOfMemory,
            Code::PermissionDenied,
            Code::ReadOnly,
            Code::SystemIoFailure,
        ];
        match self {
            Self::Newer { .. } | Self::BackUp { .. } => false,
            // A disk may not be mounted. Nothing else has a store in it.
            Self::NoFile { path, .. } => !path.is_symlink(),
            other => {
                let code = other.sqlite().and_then(rusqlite::Error::sqlite_error_code);
                !code.is_some_and(|code| SURROUNDINGS.contains(&code))
            }
        }
    }

    fn sqlite(&self) -> Option<&rusqlite::Error> {
        match self {
            Self::Open { source, .. } | Self::Query { source, .. } => Some(source),
            Self::Migrate { source: rusqlite_migration::Error::RusqliteError { err, .. }, .. } => Some(err),
            _ => None,
        }
    }
}
