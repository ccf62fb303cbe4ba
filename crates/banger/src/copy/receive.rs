use banger_api::files::archive::{Decoder, Item, Note};
use bytes::Bytes;
use tokio::sync::mpsc;

use super::error::given;
use super::{CopyError, Remarks};

/// What may come after an archive's end: some writers fill their last record with zeros.
const TRAILER_MAX: usize = 1 << 20;
/// Headers that come before anything is counted.
const HEADERS_MAX: u64 = 4 << 20;

/// What becomes of a guest's archive.
pub(crate) trait Sink {
    /// Takes what comes next. Of notes, only [`Note::Cut`] comes here.
    fn take(&mut self, item: Item) -> Result<(), CopyError>;

    /// The archive is over, and whole.
    fn finish(&mut self) -> Result<(), CopyError>;
}

/// Takes the archive in `pieces` apart and gives it to `sink`. It may be little longer than `limit` in all,
/// headers and notes counted, or a guest could go on for ever without a single file.
///
/// # Errors
///
/// When it is not whole, or something in it cannot or must not be.
pub(crate) fn receive(
    mut pieces: mpsc::Receiver<Bytes>,
    mut sink: impl Sink,
    limit: u64,
) -> Result<Remarks, CopyError> {
    let mut decoder = Decoder::default();
    let mut remarks = Remarks::default();
    let (mut left, mut trailer) = (limit.saturating_add(HEADERS_MAX), TRAILER_MAX);
    while let Some(piece) = pieces.blocking_recv() {
        let len = piece.len();
        left = left.checked_sub(len as u64).ok_or(CopyError::TooLarge { limit })?;
        if decoder.finish().is_ok() {
            trailer = trailer.checked_sub(len).ok_or(CopyError::Endless)?;
        }
        decoder.push(piece);
        while let Some(item) = decoder.next()? {
            match item {
                Item::Note(note) => {
                    if matches!(note, Note::Cut { .. }) {
                        sink.take(Item::Note(note.clone()))?;
                    }
                    remark(&mut remarks, note)?;
                }
                item => sink.take(item)?,
            }
        }
    }
    decoder.finish()?;
    sink.finish()?;
    Ok(remarks)
}

fn remark(remarks: &mut Remarks, note: Note) -> Result<(), CopyError> {
    match note {
        Note::Skipped { path } => remarks.skipped.push(given(&path)),
        Note::Mount { path } => remarks.mounts.push(given(&path)),
        Note::Vanished { path } => remarks.vanished.push(given(&path)),
        Note::Unread { path, reason } | Note::Cut { path, reason, .. } => {
            // The words are the guest's, too.
            remarks.failures.push(crate::ui::clean(&format!("{} {reason}", given(&path))));
        }
        Note::Failed { reason } => return Err(CopyError::Guest { reason }),
    }
    Ok(())
}
