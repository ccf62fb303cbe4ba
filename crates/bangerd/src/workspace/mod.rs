//! The git round trip: a repository goes into the guest, a patch comes out.
//!
//! [`Repository`] says what is on the host, [`send`] turns it into a tar stream and a description of pack and
//! index (see [`banger_guest_protocol::import`]). Everything here only reads the host's repository. What has
//! been prepared, and when that may happen, is the business of `vm::workspace`.

mod apply;
mod base;
mod branch;
mod branch_pack;
mod branch_trees;
mod changed;
mod checkout;
mod excludes;
mod export;
mod finish_import;
mod git_identity;
mod guest_commits;
mod guest_git;
mod guest_objects;
mod hidden;
mod history;
mod host_files;
mod host_obeys;
mod host_scripts;
mod inspect;
mod kept;
mod landing;
mod losses;
mod object;
mod object_space;
mod off_the_workers;
mod other_repositories;
mod pack;
pub mod patch;
mod patched;
mod permissions;
mod prepare;
mod scratch;
mod send;
mod sink;
mod skeleton;
mod work;

pub use apply::{Filters, Reviewed, Reviewer, dirty_overlap};
pub use branch::{Free, Wanted};
pub use branch_pack::recover_branches;
pub use checkout::Checkout;
pub use export::{Base, Fetched, fetch};
pub use git_identity::{identity, introduce};
pub use guest_objects::{GuestObjects, fetch_objects};
pub use inspect::{Listing, Repository, head_commit_at, named_commit};
pub use landing::{Landing, recover};
pub use losses::{Losses, losses};
pub use object::ObjectId;
pub use prepare::{Contents, OnTheWay, Preparation, Prepared, finish, send_to};
pub use scratch::PreparedPart;
pub use work::Work;

use std::path::PathBuf;
use std::time::Duration;

use banger_host::command::CommandError;
use banger_host::exchange::ExchangeError;
use banger_host::files::FileError;
use banger_host::git::ObjectError;
use banger_host::worktree::WorktreeError;

use crate::guest::GuestError;

/// Why a repository could not be sent, or its changes not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum WorkspaceError {
    #[error("there is no directory {}", path.display())]
    NoSuchPath { path: PathBuf },
    #[error("{} is not in a git repository", path.display())]
    NoRepository { path: PathBuf, said: String },
    #[error("git does not open the repository that {} is in", path.display())]
    Unopened { path: PathBuf, said: String },
    #[error("{} belongs to a git repository without a working tree", path.display())]
    NoWorkingTree { path: PathBuf },
    #[error("the repository has no commit {name:?}")]
    NoSuchCommit { name: String },
    #[error("the repository has submodules: {}", paths.join(", "))]
    Submodules { paths: Vec<String> },
    #[error("`git {command}` said something unintelligible: {said:?}")]
    Unintelligible { command: &'static str, said: String },
    #[error("{path} is being written to; it changed each time it was read")]
    Unsteady { path: String },
    #[error("git could not be asked about the repository")]
    Git(#[from] CommandError),
    #[error("an object of the repository's could not be read")]
    Object(#[from] ObjectError),
    #[error("a file of the working tree could not be read")]
    Worktree(#[from] WorktreeError),
    #[error("could not read {path}")]
    Read { path: String, source: std::io::Error },
    #[error("{name:?} cannot be a branch's name")]
    BranchName { name: String },
    #[error("the repository cannot be put at {} in the VM", path.display())]
    GuestPath { path: PathBuf },
    #[error("the host's repository is not there any more")]
    HostGone,
    #[error("the guest did not finish within {} s", limit.as_secs())]
    Timeout { limit: Duration },
    #[error("{} has no commit yet", path.display())]
    NoCommit { path: PathBuf },
    #[error("the guest has no git")]
    NoGuestGit,
    #[error("`{command}` failed in the guest with exit code {code}: {said}")]
    GuestCommand { command: String, code: u8, said: String },
    #[error("`{command}` said something unintelligible in the guest: {said:?}")]
    GuestSaid { command: String, said: String },
    #[error("the workspace {} is not there in the guest any more", path.display())]
    GuestRepositoryGone { path: PathBuf },
    #[error("the prepared state is not in the guest's repository any more")]
    BaseGone,
    #[error("the guest's repository has no commit {name:?}{}", host_commit(*on_host))]
    NoSuchGuestCommit { name: String, on_host: Option<ObjectId> },
    #[error("the patch is larger than {} MiB", limit_bytes >> 20)]
    PatchTooLarge { limit_bytes: u64 },
    #[error("the binary files in the patch unpack to more than {} MiB", limit_bytes >> 20)]
    PatchUnpacks { limit_bytes: u64 },
    #[error("the workspace has more than {limit} repositories inside")]
    TooManyRepositories { limit: usize },
    #[error("the guest's git said more than {} MiB where a list of files was asked for", limit_bytes >> 20)]
    AnswerTooLarge { limit_bytes: usize },
    #[error("the patch could not be kept")]
    Patch { source: std::io::Error },
    #[error("the guest sent something that is not a patch")]
    Malformed(#[from] patch::PatchError),
    #[error("the guest sent a patch that can be read in two ways")]
    Disagreement,
    #[error("the patch does not apply to the host's working tree: {said}")]
    DoesNotApply { said: String },
    #[error("the patch was not applied, and nothing was changed")]
    NotPutInPlace { source: ExchangeError },
    #[error("there is a branch {name} in the host's repository already")]
    BranchExists { name: String },
    #[error("the branch {name} is checked out at {}", path.display())]
    BranchCheckedOut { name: String, path: PathBuf },
    #[error("the branch was not made, and nothing was changed: {said}")]
    BranchNotMade { said: String },
    #[error("the submodule {} was changed, and a branch cannot hold that", path.display())]
    SubmoduleChanged { path: PathBuf },
    #[error("the host's git keeps these files otherwise than they lie in the working tree: {}", paths.join(", "))]
    Filtered { paths: Vec<String> },
    #[error("the guest's commits cannot be taken one by one: {why}")]
    Commits { why: String },
    #[error("the guest sent objects that git refuses: {said}")]
    BadObjects { said: String },
    #[error("the patch was not applied, and not all could be brought back: {left}; what was there before is in {}", stage.display())]
    NotUndone { stage: PathBuf, left: String, source: Box<Self> },
    #[error("the patch was not applied: read back, {} is not what the guest made", path.display())]
    Converted { path: PathBuf },
    #[error("no room for the patch at {}: it takes {} KiB, and {} KiB are free", place.display(), needed >> 10, free >> 10)]
    NoSpace { place: PathBuf, needed: u64, free: u64 },
    #[error("the files of the patch could not be made, and nothing was changed: {said}")]
    NotMade { said: String },
    #[error("the guest stopped taking what was sent")]
    Cut,
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Guest(#[from] GuestError),
}

fn host_commit(on_host: Option<ObjectId>) -> String {
    on_host.map(|id| format!(", which is {id} on the host")).unwrap_or_default()
}
