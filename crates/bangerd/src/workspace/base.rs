//! What the guest's work is compared with later.

use banger_guest_protocol::ByteString;

use super::WorkspaceError;
use super::guest_git::GuestGit;
use super::object::ObjectId;
use super::send::Overlay;
use crate::guest::Guest;

/// The ref that keeps the prepared state from being collected as garbage.
const PREPARED_REF: &[u8] = b".git/refs/banger/prepared";

/// Makes the tree that the guest's changes are measured from: HEAD, and what was sent over it. Made by the guest's git, like the
/// trees it will be compared with, so that conversions of line ends and the like come to the same.
pub(super) async fn record_base(git: &GuestGit<'_>, overlay: &Overlay) -> Result<ObjectId, WorkspaceError> {
    if !overlay.there.is_empty() {
        // What an intent to add stands for until its file is added; git makes it, too.
        git.object(&["hash-object", "-w", "--stdin"]).await?;
    }
    let index = git.path(".git/banger-index");
    let copy: [&[u8]; 4] = [b"cp", b"--", b".git/index", index.as_bytes()];
    // An index without entries is not there.
    let _ = git.program(&copy).await;
    let terminated = |paths: &[ByteString]| {
        paths.iter().flat_map(|path| path.as_bytes().iter().copied().chain([0])).collect::<Vec<u8>>()
    };
    let with_index = git.with("GIT_INDEX_FILE", index.clone());
    let outcome = async {
        with_index.update_index(terminated(&overlay.gone), terminated(&overlay.there)).await?;
        with_index.object(&["write-tree"]).await
    };
    let outcome = outcome.await;
    git.program(&[b"rm", b"-f", b"--", index.as_bytes()]).await?;
    outcome
}

/// Ties the prepared state to a ref.
pub(super) async fn keep(
    guest: &Guest,
    repository: &ByteString,
    base: &ObjectId,
) -> Result<(), WorkspaceError> {
    Ok(guest.put_file(repository.clone(), PREPARED_REF, format!("{base}\n").as_bytes()).await?)
}
