//! Files and trees of files, in and out: tar streams in the bodies of requests.
//!
//! The file system's calls block, so each stream has a thread of its own, joined to the runtime by a short
//! queue of chunks. Under emulation every system call and every copy counts: contents are written from, and
//! read into, the very buffers that travel.

mod beneath;
mod error;
mod pack;
mod source;
mod stat;
mod sync;
mod unpack;

use std::io;

use banger_guest_protocol::messages::{FileAt, FileStat, Pack, Unpack, Unpacked};
use bytes::Bytes;
use futures_util::TryStreamExt;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Body, Frame};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

pub use error::FileError;

/// Chunks under way between the runtime and a thread: about a megabyte.
pub(crate) const QUEUED_CHUNKS: usize = 16;

/// Unpacks the archive in `body`.
///
/// # Errors
///
/// When it is no archive, or something in it could not be written. What was written before stays, unless the
/// directory was made for it.
pub async fn unpack<B>(what: Unpack, body: B) -> Result<Unpacked, FileError>
where
    B: Body<Data = Bytes, Error: Send> + Send + Unpin + 'static,
{
    let (chunks, inbox) = mpsc::channel(QUEUED_CHUNKS);
    let unpacking = spawn_blocking(move || unpack::run(&what, inbox));
    tokio::spawn(feed(body, chunks));
    unpacking.await.map_err(FileError::Thread)?
}

/// Passes a body on. Once nobody takes it any more, it is still read: the host is busy sending, and looks for
/// an answer only while that goes on.
pub(crate) async fn feed<B: Body<Data = Bytes> + Unpin>(mut body: B, chunks: mpsc::Sender<Bytes>) {
    // A body that breaks off is seen as an archive without an end.
    while let Some(Ok(frame)) = body.frame().await {
        if let Ok(chunk) = frame.into_data() {
            // See above: who does not take it has its own reason, and tells it.
            let _taken = chunks.send(chunk).await;
        }
    }
}

/// Packs a file or tree into an archive. What cannot be read is left out, with a note. Without the source
/// itself there is no archive: it gets a note, and the body an error.
///
/// # Errors
///
/// When there is nothing to pack.
pub async fn pack(what: Pack) -> Result<BoxBody<Bytes, io::Error>, FileError> {
    let follow = what.follow;
    let source = spawn_blocking(move || source::Source::open(&what)).await.map_err(FileError::Thread)??;
    let (chunks, mut inbox) = mpsc::channel(QUEUED_CHUNKS);
    spawn_blocking(move || pack::run(source, follow, chunks));
    let stream = futures_util::stream::poll_fn(move |cx| inbox.poll_recv(cx));
    Ok(StreamBody::new(stream.map_ok(Frame::data)).boxed())
}

/// What is at a path.
///
/// # Errors
///
/// When there is nothing, or nothing that can be looked at.
pub async fn stat(what: FileAt) -> Result<FileStat, FileError> {
    spawn_blocking(move || stat::stat(&what)).await.map_err(FileError::Thread)?
}

/// Writes the whole file system that a path is on to its disk.
///
/// # Errors
///
/// When there is no such path, or the disk does not take it.
pub async fn sync(what: FileAt) -> Result<(), FileError> {
    spawn_blocking(move || sync::sync(&what)).await.map_err(FileError::Thread)?
}
