use banger_guest_protocol::archive::{ArchiveError, EntryPathError};
use banger_guest_protocol::messages::GuestErrorKind;
use rustix::io::Errno;

use crate::system_error::SystemError;

/// Why files were not packed or unpacked. Names have their control characters escaped.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("{path} is not an absolute path")]
    NotAbsolute { path: String },
    #[error("{path} has no name of its own that an archive could have")]
    Nameless { path: String },
    #[error("there is no {path}")]
    NotFound { path: String },
    #[error("{path} is not a directory")]
    NotDirectory { path: String },
    #[error("{path} is there already")]
    Exists { path: String },
    #[error("{path} is a directory, the archive has something else of that name")]
    InTheWay { path: String },
    #[error("{path} is neither file, directory nor symlink")]
    NotPackable { path: String },
    #[error("the name {name} in the archive cannot be used")]
    Name { name: String, source: EntryPathError },
    #[error("{name} in the archive is a device, a FIFO, or of another kind that is not unpacked")]
    Kind { name: String },
    #[error("{path} {reason}")]
    Unread { path: String, reason: String },
    #[error("the archive could not be read")]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    System(#[from] SystemError),
    #[error("a thread of the agent's broke")]
    Thread(#[source] tokio::task::JoinError),
}

impl FileError {
    pub fn kind(&self) -> GuestErrorKind {
        match self {
            Self::NotFound { .. } => GuestErrorKind::NotFound,
            Self::NotDirectory { .. }
            | Self::Exists { .. }
            | Self::InTheWay { .. }
            | Self::NotPackable { .. } => GuestErrorKind::Refused,
            _ => GuestErrorKind::Failed,
        }
    }

    /// A path that could not be opened or made.
    pub(super) fn at(action: &'static str, path: &[u8], errno: Errno) -> Self {
        match errno {
            Errno::NOENT => Self::NotFound { path: printable(path) },
            Errno::NOTDIR => Self::NotDirectory { path: printable(path) },
            Errno::EXIST => Self::Exists { path: printable(path) },
            _ => SystemError::new(action, printable(path), errno).into(),
        }
    }
}

/// A path for people: one line, whatever its bytes.
pub(super) fn printable(path: &[u8]) -> String {
    String::from_utf8_lossy(path)
        .chars()
        .flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] })
        .collect()
}
