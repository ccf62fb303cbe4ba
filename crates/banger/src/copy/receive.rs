use banger_api::files::archive::{Decoder, Item, Note};
use bytes::Bytes;
use tokio::sync::mpsc;

use super::CopyError;
use super::error::given;

/// How many names of what stayed behind are kept.
const NAMED: usize = 10;

/// What becomes of a guest's archive.
pub(crate) trait Sink {
    /// Takes what comes next. Notes do not come here.
    fn take(&mut self, item: Item) -> Result<(), CopyError>;

    /// The archive is over, and whole.
    fn finish(&mut self) -> Result<(), CopyError>;
}

/// What else there is to tell of an archive that was received.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Received {
    /// What the guest did not pack: some names, and how many more there are.
    pub(crate) skipped: (Vec<String>, usize),
}

/// Takes the archive in `pieces` apart and gives it to `sink`.
///
/// # Errors
///
/// When it is not whole, or something in it cannot or must not be.
pub(crate) fn receive(mut pieces: mpsc::Receiver<Bytes>, mut sink: impl Sink) -> Result<Received, CopyError> {
    let mut decoder = Decoder::default();
    let mut received = Received::default();
    while let Some(piece) = pieces.blocking_recv() {
        decoder.push(piece);
        while let Some(item) = decoder.next()? {
            match item {
                Item::Note(Note::Failed { reason }) => return Err(CopyError::Guest { reason }),
                Item::Note(Note::Skipped { path }) if received.skipped.0.len() < NAMED => {
                    received.skipped.0.push(given(&path));
                }
                Item::Note(Note::Skipped { .. }) => received.skipped.1 += 1,
                item => sink.take(item)?,
            }
        }
    }
    decoder.finish()?;
    sink.finish()?;
    Ok(received)
}
