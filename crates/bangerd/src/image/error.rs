use std::path::PathBuf;

use banger_registry::ReferenceError;

use super::ImportError;
use crate::artifact::ArtifactError;
use crate::identity::ImageNameError;
use crate::store::StoreError;

/// Why an image cannot be had, shown or deleted.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error("there is no image {name:?}")]
    Unknown { name: String, hint: String },
    #[error("image {name} is in use by {}", users.join(", "))]
    InUse { name: String, users: Vec<String> },
    #[error("image {name} is damaged: {} is gone, not what it was, or cannot be read", path.display())]
    Lost { name: String, path: PathBuf, users: Vec<String> },
    #[error("an image cannot be called {name:?}")]
    Name { name: String, source: ImageNameError },
    #[error("{name:?} is neither an image of the catalog nor one that a registry could have")]
    Reference { name: String, source: ReferenceError },
    #[error("there is an image {name} already")]
    NameTaken { name: String },
    #[error("image {name} is not used in place: its file is banger's own")]
    Managed { name: String },
    #[error("could not make an image of {}", path.display())]
    Import { path: PathBuf, source: Box<ImportError> },
    #[error("could not make a bundle of image {name}")]
    Bundle { name: String, source: ArtifactError },
    #[error("could not get image {name}")]
    Get { name: String, source: ArtifactError },
    #[error("could not remove all downloads that no image needs")]
    Prune(#[source] ArtifactError),
    #[error("could not clean up among the images")]
    Recover(#[source] ArtifactError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ImageError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { hint, .. } => Some(hint.clone()),
            Self::InUse { users, .. } => Some(format!("banger vm delete {}", users.join(" "))),
            Self::Lost { name, users, .. } if users.is_empty() => Some(format!(
                "`banger image pull {name}` gets one of the catalog or of a registry anew; delete any other, and import it again"
            )),
            Self::Lost { users, .. } => Some(format!(
                "put the file back: without it these VMs cannot start, and their disks are changes to it: {}",
                users.join(", ")
            )),
            Self::Reference { name, .. } | Self::Get { name, .. } if is_file_name(name) => Some(format!(
                "if that is a file, make an image of it first: banger image import NAME {name}"
            )),
            Self::Get { source, .. } | Self::Bundle { source, .. } | Self::Prune(source) | Self::Recover(source) => source.hint(),
            Self::Name { .. } => Some(
                "a name has letters, digits, and any of . _ - : / @, and begins with a letter or digit"
                    .into(),
            ),
            Self::Reference { .. } => Some(
                "`banger image list --available` shows the catalog; a registry's images are called like debian:bookworm or ghcr.io/owner/name:tag".into(),
            ),
            Self::NameTaken { name } => {
                Some(format!("choose another name, or `banger image delete {name}` first"))
            }
            Self::Import { source, .. } => source.hint(),
            Self::Managed { .. } | Self::Store(_) => None,
        }
    }
}

/// Is it more likely a file's name than an image's?
fn is_file_name(name: &str) -> bool {
    let ends = [".tar", ".tar.gz", ".tgz", ".tar.zst", ".tar.xz", ".ext4", ".img"];
    name.starts_with(['.', '/', '~']) || ends.iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_file_is_to_be_imported() {
        let hint = |name: &str| {
            let source = ArtifactError::Cancelled;
            ImageError::Get { name: name.into(), source }.hint().unwrap_or_default()
        };
        for file in ["./x.tar", "x.tar.gz", "/tmp/app", "../layout", "~/x"] {
            assert!(hint(file).contains("banger image import NAME"), "{file}");
        }
        for image in ["alpine", "ghcr.io/tar/x:1.tar-2", "tar", "x.target"] {
            assert_eq!(hint(image), "", "{image}");
        }
    }
}
