use std::path::PathBuf;

use banger_host::files::FileError;

use crate::record::RecordError;

/// Why something about SSH did not happen.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("SSH's configuration cannot name {}", path.display())]
    Unspeakable { path: PathBuf },
    #[error("{} leads to {}, which is not there", link.display(), target.display())]
    Dangling { link: PathBuf, target: PathBuf },
    #[error("{} is not a file", .0.display())]
    NotFile(PathBuf),
    #[error("{} is larger than any SSH configuration: {bytes} bytes", path.display())]
    TooLarge { path: PathBuf, bytes: u64 },
    #[error("{} belongs to user {owner}, not to you (user {uid})", path.display())]
    ForeignOwner { path: PathBuf, owner: u32, uid: u32 },
}

impl SshError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unspeakable { .. } => {
                "a path with a newline or `${` in it has no spelling there: use another XDG_STATE_HOME".into()
            }
            Self::Dangling { target, .. } => {
                format!("make the file first, or remove the link: touch {}", target.display())
            }
            Self::ForeignOwner { path, uid, .. } => {
                format!("ssh would refuse it, too: sudo chown {uid} {}", path.display())
            }
            Self::NotFile(path) => format!("move it aside: mv {0} {0}.aside", path.display()),
            _ => return None,
        })
    }
}
