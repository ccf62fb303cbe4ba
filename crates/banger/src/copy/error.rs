use std::io;
use std::path::{Path, PathBuf};

use banger_api::files::archive::{ArchiveError, EntryPathError, Trouble};
use banger_api::{ApiError, ErrorCode};

use crate::ui::{bytes, file_name};

/// Why a copy was not made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CopyError {
    #[error("there is no {}", file_name(path))]
    NotFound { path: PathBuf },
    #[error("{} is not a directory", file_name(path))]
    NotDirectory { path: PathBuf },
    #[error("{} is neither file, directory nor symlink", file_name(path))]
    NotCopyable { path: PathBuf },
    /// Found out before anything was sent.
    #[error("{}", unreadable(paths, *more))]
    Unreadable { paths: Vec<PathBuf>, more: usize },
    /// Gone since its directory was listed.
    #[error("{} was removed before it was read", file_name(path))]
    Vanished { path: PathBuf },
    #[error("{} is a symlink that leads nowhere", file_name(path))]
    Dangling { path: PathBuf },
    #[error("{} leads back to a directory that it is in", file_name(path))]
    Loop { path: PathBuf },
    #[error("{} {trouble}", file_name(path))]
    Unread { path: PathBuf, trouble: Trouble },
    #[error("could not {action} {}", file_name(path))]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("could not start a thread")]
    Thread(#[source] io::Error),
    #[error("a thread ended without a result")]
    ThreadLost,
    #[error("{} is in the way: only files and symlinks are replaced, by others", file_name(path))]
    InTheWay { path: PathBuf },
    /// What should be a directory, by its slash, and is not there.
    #[error("there is no directory {}", file_name(path))]
    NoDirectory { path: PathBuf },
    #[error("the archive on stdin is compressed with {0}")]
    Compressed(&'static str),
    #[error("the guest sent {name}, which leads out of the directory")]
    Name { name: String, source: EntryPathError },
    #[error("the guest sent {name}, which was not asked for")]
    Stranger { name: String },
    #[error("the guest sent {name}, which is no file, directory or symlink")]
    Kind { name: String },
    #[error("the guest sends more than {}", bytes(*limit))]
    TooLarge { limit: u64 },
    #[error("the guest goes on sending after the archive's end")]
    Endless,
    #[error(
        "there is no room for it at {}: {} are free, and {} are left so",
        file_name(path),
        bytes(*free),
        bytes(*floor)
    )]
    NoRoom { path: PathBuf, free: u64, floor: u64 },
    #[error("what came is not a whole archive")]
    Archive(#[from] ArchiveError),
    /// The agent's own words.
    #[error("in the guest: {reason}")]
    Guest { reason: String },
    #[error("could not write to stdout")]
    Stdout(#[source] io::Error),
}

impl CopyError {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        move |source| {
            let path = path.into();
            match source.kind() {
                io::ErrorKind::NotFound => Self::NotFound { path },
                _ => Self::Io { action, path, source },
            }
        }
    }

    pub(crate) fn code(&self) -> ErrorCode {
        match self {
            Self::NotFound { .. } | Self::NoDirectory { .. } => ErrorCode::NotFound,
            Self::Compressed(_) => ErrorCode::Usage,
            Self::NotDirectory { .. }
            | Self::NotCopyable { .. }
            | Self::InTheWay { .. }
            | Self::NoRoom { .. }
            | Self::TooLarge { .. } => ErrorCode::Refused,
            _ => ErrorCode::Failed,
        }
    }

    /// In the API's words: `message` failed because of this.
    pub(crate) fn because_of(&self, message: String) -> ApiError {
        let mut error = ApiError::from_error(self.code(), self);
        error.causes.insert(0, std::mem::replace(&mut error.message, message));
        error.hint = match self {
            Self::TooLarge { .. } => Some("if that is what you want: --max-size SIZE".into()),
            Self::Name { .. } | Self::Stranger { .. } | Self::Kind { .. } => {
                Some("nothing was written outside; do not trust this VM".into())
            }
            Self::Compressed(program) => {
                Some(format!("unpack it on the way: {program} -dc | banger cp - ..."))
            }
            _ => None,
        };
        error
    }
}

fn unreadable(paths: &[PathBuf], more: usize) -> String {
    let names: Vec<String> = paths.iter().map(file_name).collect();
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    format!("cannot read {}{more}", names.join(", "))
}

/// A name that a guest has given.
pub(super) fn given(name: &[u8]) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    file_name(Path::new(std::ffi::OsStr::from_bytes(name)))
}
