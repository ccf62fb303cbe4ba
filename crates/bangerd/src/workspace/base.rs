//! What the guest's work is compared with later.

use banger_guest_protocol::ByteString;

use super::WorkspaceError;
use super::guest_git::GuestGit;
use super::inspect::Repository;
use super::kept::Kept;
use super::object::ObjectId;
use super::scratch::Scratch;
use super::send::Overlay;

/// The ref that keeps the prepared state from being collected as garbage.
const PREPARED_REF: &str = "refs/banger/prepared";
/// The commit that the host has: what is not behind it was made in the guest.
pub(super) const COMMIT_REF: &str = "refs/banger/commit";

/// The trees of the prepared state.
pub(super) struct Base {
    pub(super) tree: ObjectId,
    /// With what a sparse checkout leaves out.
    pub(super) whole: ObjectId,
}

/// Makes the tree that the guest's changes are measured from: HEAD, and what was sent over it. Made by the
/// guest's git, like the trees it will be compared with, so that conversions of line ends and the like come
/// to the same.
pub(super) async fn record_base(
    git: &GuestGit<'_>,
    kept: &Kept,
    repository: &Repository,
    overlay: &Overlay,
) -> Result<Base, WorkspaceError> {
    if let Some(head) = repository.head.as_ref().filter(|_| overlay.is_empty()) {
        kept.put_files(git, [("", None)]).await?;
        kept.keep_index(git).await?;
        return Ok(Base { tree: head.tree, whole: head.tree });
    }
    let scratch =
        Scratch::make(git, kept, repository.format, &repository.conversions(), &repository.excludes).await?;
    let outcome = async {
        kept.keep_index(git).await?;
        // What is made here stays.
        let lasting = scratch.git.with("GIT_OBJECT_DIRECTORY", ".git/objects".into());
        let lasting = lasting.with("GIT_INDEX_FILE", kept.path("index"));
        if !overlay.there.is_empty() {
            // What an intent to add stands for until its file is added; git makes it, too.
            lasting.object(&["hash-object", "-w", "--stdin"]).await?;
        }
        let terminated = |paths: &[ByteString]| {
            paths.iter().flat_map(|path| path.as_bytes().iter().copied().chain([0])).collect::<Vec<u8>>()
        };
        lasting.update_index(terminated(&overlay.gone), terminated(&overlay.there)).await?;
        let whole = lasting.object(&["write-tree"]).await?;
        let mut tree = whole;
        if !overlay.left_out.is_empty() {
            lasting.update_index(terminated(&overlay.left_out), Vec::new()).await?;
            tree = lasting.object(&["write-tree"]).await?;
        }
        Ok(Base { tree, whole })
    };
    let outcome = outcome.await;
    scratch.remove().await?;
    outcome
}

/// Ties the prepared state to refs.
pub(super) async fn keep(
    git: &GuestGit<'_>,
    base: &ObjectId,
    commit: Option<ObjectId>,
) -> Result<(), WorkspaceError> {
    let line = |id: &ObjectId| Some(format!("{id}\n").into_bytes());
    let file = |name: &str| format!(".git/{name}").into_bytes();
    let mut files = vec![(file(PREPARED_REF), line(base))];
    files.extend(commit.iter().map(|commit| (file(COMMIT_REF), line(commit))));
    git.put_files(&files).await
}
