use std::path::PathBuf;

use banger_host::files::FileError;

use super::AgentError;
use crate::artifact::ArtifactError;
use crate::store::StoreError;

/// Why a kernel cannot be had, shown or deleted.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    #[error("there is no kernel {name:?}")]
    Unknown { name: String, hint: String },
    #[error("kernel {name} is in use by {}", users.join(", "))]
    InUse { name: String, users: Vec<String> },
    #[error("kernel {name} is damaged: {} is gone or cannot be read", path.display())]
    Lost { name: String, path: PathBuf, users: Vec<String> },
    #[error("a kernel cannot be called {name:?}")]
    Name { name: String },
    #[error("there is a kernel {name} already")]
    NameTaken { name: String },
    #[error("could not make a kernel of {}", from.display())]
    Import { from: PathBuf, source: ArtifactError },
    #[error("could not make a bundle of kernel {name}")]
    Bundle { name: String, source: ArtifactError },
    #[error("could not get kernel {name}")]
    Get { name: String, source: ArtifactError },
    #[error("could not make the initramfs of kernel {name}")]
    Initramfs { name: String, source: InitramfsFileError },
    #[error("could not clean up among the kernels")]
    Recover(#[source] ArtifactError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What an initramfs can fail at.
#[derive(Debug, thiserror::Error)]
pub enum InitramfsFileError {
    #[error(transparent)]
    Agent(#[from] AgentError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("could not read {}", path.display())]
    Modules { path: PathBuf, source: std::io::Error },
    #[error("could not pack the agent")]
    Pack(#[from] banger_host::initramfs::InitramfsError),
    #[error("the work on it broke off")]
    Broken(#[from] tokio::task::JoinError),
}

impl KernelError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unknown { hint, .. } => Some(hint.clone()),
            Self::InUse { users, .. } => Some(format!("banger vm delete {}", users.join(" "))),
            Self::Lost { name, users, .. } if users.is_empty() => Some(format!(
                "`banger kernel pull {name}` gets one of the catalog anew; delete any other, and import it again"
            )),
            Self::Lost { users, .. } => {
                Some(format!("put the file back: without it these VMs cannot start: {}", users.join(", ")))
            }
            Self::Name { .. } => Some(
                "a name is 1 to 64 letters, digits and any of . _ -, and begins with a letter or digit"
                    .into(),
            ),
            Self::NameTaken { name } => {
                Some(format!("choose another name, or `banger kernel delete {name}` first"))
            }
            Self::Get { source, .. }
            | Self::Import { source, .. }
            | Self::Bundle { source, .. }
            | Self::Recover(source) => source.hint(),
            Self::Initramfs { source: InitramfsFileError::Agent(agent), .. } => agent.hint(),
            Self::Initramfs { .. } | Self::Store(_) => None,
        }
    }
}
