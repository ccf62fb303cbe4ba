//! The whole history: packed by the host's git, unpacked by the guest's.

use banger_host::command::CommandError;
use banger_host::git::ObjectError;
use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::sync::mpsc;

use super::WorkspaceError;
use super::checkout::Part;
use super::guest_git::GuestGit;
use super::inspect::History;
use super::object::ObjectId;

/// Pieces between the two gits.
const QUEUED_PIECES: usize = 8;

/// Sends every object that HEAD and its tags need. `guest` is the repository under construction.
///
/// # Errors
///
/// When either git fails.
pub(super) async fn send_history(
    guest: &GuestGit<'_>,
    part: &Part,
    history: &History,
) -> Result<(), WorkspaceError> {
    let Some(head) = part.repository.commit() else { return Ok(()) };
    let tags = history.tags.iter().map(|(_, id)| *id);
    let wanted: String = std::iter::once(head).chain(tags).map(|id| format!("{id}\n")).collect();
    let pack = ["pack-objects", "--revs", "--stdout", "--quiet", "--delta-base-offset"];
    let packing = part.repository.git.command(pack).stdin(wanted.into_bytes());
    let (sink, pieces) = mpsc::channel(QUEUED_PIECES);
    let (packed, unpacked) =
        tokio::join!(packing.run_piped(sink), guest.feed(&["index-pack", "--stdin"], received(pieces)));
    // A guest that stops taking it breaks the host's pipe: then its own words count. A host that has not all
    // objects leaves the guest with half of them: then the host's.
    match (packed, unpacked) {
        (Err(CommandError::Failed { stderr, .. }), _) if stderr.contains("promisor") => {
            Err(ObjectError::Missing { id: object_in(&stderr).to_owned() }.into())
        }
        (Ok(()), Ok(())) => Ok(()),
        (_, Err(error @ WorkspaceError::GuestCommand { .. })) => Err(error),
        (Err(error), _) => Err(error.into()),
        (_, Err(error)) => Err(error),
    }
}

/// The object that a message of git's names.
fn object_in(message: &str) -> &str {
    let is_id = |word: &&str| ObjectId::parse(word.as_bytes()).is_some();
    message.split_ascii_whitespace().find(is_id).unwrap_or("that it needs")
}

/// What comes out of a channel, as a stream.
pub(super) fn received(pieces: mpsc::Receiver<Bytes>) -> impl Stream<Item = Bytes> + Send + 'static {
    stream::unfold(pieces, |mut pieces| async move { pieces.recv().await.map(|piece| (piece, pieces)) })
}
