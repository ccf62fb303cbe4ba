use std::io;
use std::path::PathBuf;

use crate::command::CommandError;
use crate::initrd::InitrdError;
use crate::kernel_image::KernelImageError;
use crate::walk::WalkError;

/// Why no kernel can be had from a directory.
#[derive(Debug, thiserror::Error)]
pub enum KernelDirectoryError {
    #[error("{} is no directory", .0.display())]
    NotDirectory(PathBuf),
    #[error("could not {action} {}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("{} is not a regular file", .0.display())]
    NotFile(PathBuf),
    #[error("{} has {} MiB, more than the {} MiB that are accepted", path.display(), len >> 20, max >> 20)]
    TooLarge { path: PathBuf, len: u64, max: u64 },
    #[error("there is no kernel in {}: neither vmlinuz nor vmlinux nor bzImage, with or without a version", .0.display())]
    NoKernel(PathBuf),
    #[error("{} cannot be booted", path.display())]
    Image { path: PathBuf, source: KernelImageError },
    #[error("{}:{line}:{column}: {message}", path.display())]
    Metadata { path: PathBuf, line: usize, column: usize, message: String },
    #[error("`{key}` in {} must be a path in the same directory, found {found:?}", path.display())]
    MetadataPath { path: PathBuf, key: &'static str, found: String },
    #[error("{} does not say which release it is", .0.display())]
    NoRelease(PathBuf),
    #[error("{} is release {actual}, not {wanted}", path.display())]
    Release { path: PathBuf, wanted: String, actual: String },
    #[error("kernel {release} has no modules, and nothing says what is built into it")]
    NoModules { release: String, looked_in: Vec<PathBuf> },
    #[error("kernel {release} has no modules and lacks drivers that would have to be built in: {}", names.join(", "))]
    NotBuiltIn { release: String, names: Vec<String>, looked_in: Vec<PathBuf> },
    #[error("{} cannot be used", path.display())]
    Initrd { path: PathBuf, source: InitrdError },
    #[error(transparent)]
    Walk(#[from] WalkError),
    #[error("{} changed while it was read", .0.display())]
    Unsteady(PathBuf),
    #[error("{} has no modules.dep, and it could not be made", modules.display())]
    Depmod { modules: PathBuf, source: CommandError },
    #[error("it was cancelled")]
    Cancelled,
}

impl KernelDirectoryError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Io { source, path, .. } if source.kind() == io::ErrorKind::PermissionDenied => format!(
                "make a copy that you can read: sudo install -m 0644 -o $USER {} COPY",
                path.display()
            ),
            Self::NotDirectory(_) | Self::NoKernel(_) => {
                "name a directory with vmlinuz or vmlinux in it (or in its boot/), such as /boot, or a bundle"
                    .into()
            }
            Self::TooLarge { path, .. } => {
                format!("take out what debuggers read: strip -g -o vmlinux {}", path.display())
            }
            Self::Image { source: KernelImageError::EfiProgram, .. } => {
                "take the vmlinuz that it was made of".into()
            }
            Self::NoRelease(_) => {
                "name it in metadata.json in that directory: { \"vmlinuz\": \"...\", \"release\": \"...\" }"
                    .into()
            }
            Self::NoModules { looked_in, .. } => format!(
                "put its modules into one of these, or its configuration beside it as .config: {}",
                list(looked_in)
            ),
            Self::NotBuiltIn { looked_in, .. } => {
                format!("put its modules into one of these: {}", list(looked_in))
            }
            Self::Depmod { source: CommandError::NotFound { package: Some(package), .. }, .. } => {
                format!("sudo apt-get install {package}")
            }
            Self::Depmod { .. } => "run depmod for these modules where they were installed".into(),
            _ => return None,
        })
    }
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}
