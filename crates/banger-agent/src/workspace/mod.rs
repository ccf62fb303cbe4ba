//! A git repository that the host puts into the guest: see [`banger_guest_protocol::import`] for how it comes.
//!
//! Nobody sees it half made: everything happens in a staging directory beside the place where it is to be, which is moved
//! there at the very end. What an import that broke off has left behind goes when the next one begins.

mod finish;
mod index;
mod pack;
mod staging;

pub use finish::finish;
pub use staging::begin;

use std::path::PathBuf;

use banger_guest_protocol::import::RecordError;

use crate::system_error::SystemError;

/// Why a repository could not be put into the guest.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    #[error("{} is not an absolute path of a directory that could be made", path.display())]
    Path { path: PathBuf },
    #[error("{} exists already, and is not an empty directory", path.display())]
    Occupied { path: PathBuf },
    #[error("the host's description of the repository cannot be read")]
    Record(#[from] RecordError),
    #[error("the host's description of the repository {what}")]
    Order { what: &'static str },
    #[error("{} has {found} bytes, and had {wanted} when it was sent", path.display())]
    Changed { path: PathBuf, found: u64, wanted: u64 },
    #[error(transparent)]
    System(#[from] SystemError),
}
