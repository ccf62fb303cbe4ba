use std::io;

use banger_guest_protocol::ByteString;

use super::PathProblem;

/// Why a patch is refused as a whole. Nothing that was read from it before counts then.
#[derive(Debug, thiserror::Error)]
pub enum PatchError {
    #[error("could not read the patch")]
    Read(#[source] io::Error),
    #[error("line {line} of the patch: expected {expected}, found {found}")]
    Unexpected { line: u64, expected: &'static str, found: String },
    #[error("line {line} of the patch: the file name {path:?} {problem}")]
    Path { line: u64, path: ByteString, problem: PathProblem },
    #[error("the patch changes {path:?} twice")]
    Twice { path: ByteString },
    #[error("the patch has {path:?} where git would not put it")]
    OutOfOrder { path: ByteString },
    #[error("the patch changes more than {limit} files")]
    TooManyFiles { limit: usize },
    #[error("the binary files in the patch unpack to more than {} MiB", limit_bytes >> 20)]
    UnpacksTooFar { limit_bytes: u64 },
    #[error("the file names in the patch are longer than {} MiB together", limit_bytes >> 20)]
    NamesTooLong { limit_bytes: usize },
}
