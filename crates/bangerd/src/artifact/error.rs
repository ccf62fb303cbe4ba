use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};

use banger_host::files::FileError;
use banger_host::kernel_directory::KernelDirectoryError;
use banger_host::layer::LayerError;
use banger_host::system::{SystemError, free_disk_bytes};
use banger_registry::RegistryError;

use super::ArchiveError;
use super::bundle::BundleError;

/// Less free space than this, and a failure is put down to it.
const FULL_BYTES: u64 = 32 << 20;

/// Why the files of an image or a kernel could not be made, or not be removed.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error("it takes {needed_mib} MiB of disk space, and only {free_mib} MiB are free in {}", path.display())]
    NoSpace { path: PathBuf, needed_mib: u64, free_mib: u64 },
    #[error("the disk is full, or was while it was made: {}", path.display())]
    DiskFull { path: PathBuf, source: Box<Self> },
    #[error("could not make {what}")]
    Make { what: &'static str, source: Box<dyn Error + Send + Sync> },
    #[error("{what} cannot be made from {source_text}")]
    Unsuitable { what: &'static str, source_text: String },
    #[error(transparent)]
    Registry(Box<RegistryError>),
    #[error(transparent)]
    Layer(LayerError),
    #[error("the bundle cannot be used")]
    Bundle(#[from] BundleError),
    #[error("could not write the bundle")]
    MakeBundle(#[source] BundleError),
    #[error(transparent)]
    KernelDirectory(Box<KernelDirectoryError>),
    #[error("{} is not a regular file", .0.display())]
    NotFile(PathBuf),
    #[error("{} exists already", .0.display())]
    OutputExists(PathBuf),
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

impl From<KernelDirectoryError> for ArtifactError {
    fn from(error: KernelDirectoryError) -> Self {
        match error {
            KernelDirectoryError::Cancelled => Self::Cancelled,
            error => Self::KernelDirectory(error.into()),
        }
    }
}

impl ArtifactError {
    pub(crate) fn make<E: Error + Send + Sync + 'static>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Make { what, source: source.into() }
    }

    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    /// Puts a failure down to a full disk when the disk of `path` is full, or when the failure itself says
    /// so: a tool that failed for want of space has mostly freed it again, and a tool's own words do not tell
    /// reliably.
    pub(crate) fn or_disk_full(self, path: &Path) -> Self {
        let is_full = free_disk_bytes(path).is_ok_and(|free| free < FULL_BYTES);
        if matches!(self, Self::Cancelled) || !(is_full || says_no_space(&self)) {
            return self;
        }
        Self::DiskFull { path: path.into(), source: Box::new(self) }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Registry(error) => return error.hint(),
            Self::Archive(ArchiveError::NotReady { fix: Some(fix), .. }) => fix,
            Self::Archive(ArchiveError::NotReady { fix: None, .. }) => "see `banger doctor`",
            Self::Archive(ArchiveError::NoSpace(_)) | Self::NoSpace { .. } | Self::DiskFull { .. } => {
                "free some disk space, then run the same command again: nothing half-made is left"
            }
            Self::Archive(ArchiveError::Failed(_)) => {
                "it needs Debian's archive over the network; run the same command again when that can be reached"
            }
            Self::Bundle(error) => error.hint()?,
            Self::KernelDirectory(error) => return error.hint(),
            Self::OutputExists(_) => "--force replaces it",
            _ => return None,
        };
        Some(hint.into())
    }
}

impl From<RegistryError> for ArtifactError {
    fn from(error: RegistryError) -> Self {
        Self::Registry(Box::new(error))
    }
}

impl From<LayerError> for ArtifactError {
    fn from(error: LayerError) -> Self {
        match error {
            LayerError::Cancelled => Self::Cancelled,
            LayerError::NoSpace { path, needed_bytes, free_bytes } => {
                Self::NoSpace { path, needed_mib: needed_bytes.div_ceil(1 << 20), free_mib: free_bytes >> 20 }
            }
            error => Self::Layer(error),
        }
    }
}

/// Whether an error or one of its causes is the system's "no space left on device", also as a tool's last
/// words.
fn says_no_space(error: &ArtifactError) -> bool {
    let words = io::Error::from(rustix::io::Errno::NOSPC).to_string();
    let words = words.split(" (os error").next().unwrap_or(&words);
    let mut cause: Option<&dyn Error> = Some(error);
    while let Some(error) = cause {
        if error.to_string().contains(words) {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_for_want_of_space_says_so_even_when_the_space_is_back() {
        let dir = tempfile::tempdir().unwrap();
        let tool =
            io::Error::other("dpkg: error: failed to write: No space left on device\nE: mmdebstrap failed");
        let error = ArtifactError::make("it")(tool).or_disk_full(dir.path());
        assert!(matches!(error, ArtifactError::DiskFull { .. }), "{error:?}");
        assert!(error.hint().unwrap().contains("free some disk space"));

        let other = ArtifactError::make("it")(io::Error::other("404 Not Found")).or_disk_full(dir.path());
        assert!(!matches!(other, ArtifactError::DiskFull { .. }), "{other:?}");
    }
}
