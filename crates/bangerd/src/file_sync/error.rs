use std::path::PathBuf;

use banger_guest_protocol::archive::Trouble;
use banger_host::walk::WalkError;

use super::Entry;

/// Why the files of `[[file_sync]]` are not copied.
#[derive(Debug, thiserror::Error)]
pub enum FileSyncError {
    #[error("{entry} could not be copied")]
    Walk { entry: Entry, source: WalkError },
    #[error("{entry} could not be copied: {} {trouble}", path.display())]
    Unread { entry: Entry, path: PathBuf, trouble: Trouble },
    #[error("{entry} is too much: all that [[file_sync]] names may come to {} MiB", limit_bytes >> 20)]
    TooLarge { entry: Entry, limit_bytes: u64 },
    #[error("the thread that reads the files of [[file_sync]] broke")]
    Thread(#[source] tokio::task::JoinError),
    /// Nobody takes the archive any more. Who did so knows why.
    #[error("nobody takes the files of [[file_sync]] any more")]
    Cut,
}

impl FileSyncError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unread { trouble: Trouble::Truncated, .. } => {
                Some("start the VM again when nothing writes to it")
            }
            Self::Walk { .. } | Self::Unread { .. } => Some(
                "make it readable, or take it out of [[file_sync]]; `banger daemon stop` has the file read again",
            ),
            Self::TooLarge { .. } => Some("name less; `banger vm cp` copies what a single VM needs"),
            Self::Thread(_) | Self::Cut => None,
        }
    }
}
