use std::path::PathBuf;

use banger_api::ErrorCode;

use crate::artifact::ArtifactError;
use crate::store::StoreError;

/// Why an image cannot be had, shown or deleted.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error("there is no image {name:?}")]
    Unknown { name: String, hint: String },
    #[error("image {name} is in use by {}", users.join(", "))]
    InUse { name: String, users: Vec<String> },
    #[error("image {name} is damaged: {} is gone or not what it was", path.display())]
    Lost { name: String, path: PathBuf, users: Vec<String> },
    #[error("could not get image {name}")]
    Get { name: String, source: ArtifactError },
    #[error("could not clean up among the images")]
    Recover(#[source] ArtifactError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ImageError {
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Unknown { .. } => ErrorCode::NotFound,
            Self::InUse { .. } | Self::Lost { .. } => ErrorCode::Refused,
            Self::Get { source, .. } | Self::Recover(source) => source.code(),
            Self::Store(_) => ErrorCode::Failed,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { hint, .. } => Some(hint.clone()),
            Self::InUse { users, .. } => Some(format!("banger vm delete {}", users.join(" "))),
            Self::Lost { name, users, .. } if users.is_empty() => Some(format!("banger image pull {name}")),
            Self::Lost { users, .. } => Some(format!(
                "put the file back, or delete the VMs that cannot start without it: banger vm delete {}",
                users.join(" ")
            )),
            Self::Get { source, .. } | Self::Recover(source) => source.hint(),
            Self::Store(_) => None,
        }
    }
}
