use std::convert::Infallible;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;

use banger_api::operation::{FileCount, ProgressUnit};
use banger_guest_protocol::archive::{
    Entry as TarEntry, EntryKind, Looks, OpenFile, Packed, Timestamp, put_end, put_entry, put_file,
};
use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};

use super::visit::{Item, ItemKind, visit};
use super::{ARCHIVE_MAX_LEN, Entry, FileSyncError, Survey};
use crate::operation::Reporter;

/// How much is gathered before it is passed on, in bytes.
const CHUNK_LEN: usize = 256 * 1024;
/// Chunks between the thread that reads files and the guest: a megabyte.
const QUEUED_CHUNKS: usize = 4;

/// An archive under way.
pub struct Packing(JoinHandle<Result<Vec<String>, FileSyncError>>);

impl Packing {
    /// What there is to tell of what stayed behind, once the archive has been taken to its end or is not
    /// wanted any more.
    ///
    /// # Errors
    ///
    /// When something could not be read: the archive has no end then. [`FileSyncError::Cut`] when nobody took
    /// it.
    pub async fn notices(self) -> Result<Vec<String>, FileSyncError> {
        self.0.await.map_err(FileSyncError::Thread)?
    }
}

/// Begins the archive of all entries. It is read no faster than it is taken; dropping it ends the reading.
pub fn pack(
    entries: &[Entry],
    survey: Survey,
    reporter: &Reporter,
) -> (impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static, Packing) {
    let (chunks, queue) = mpsc::channel(QUEUED_CHUNKS);
    let packer = Packer { out: Vec::with_capacity(2 * CHUNK_LEN), chunks };
    let (entries, reporter) = (entries.to_vec(), reporter.clone());
    let packing = spawn_blocking(move || packer.pack(&entries, survey, &reporter));
    let archive =
        stream::unfold(queue, |mut queue| async move { queue.recv().await.map(|chunk| (Ok(chunk), queue)) });
    (archive, Packing(packing))
}

struct Packer {
    out: Vec<u8>,
    chunks: mpsc::Sender<Bytes>,
}

impl Packer {
    fn pack(
        mut self,
        entries: &[Entry],
        total: Survey,
        reporter: &Reporter,
    ) -> Result<Vec<String>, FileSyncError> {
        let mut done = Survey::default();
        let notices = visit(entries, ARCHIVE_MAX_LEN, |item| {
            done.files += u64::from(item.is_file());
            done.bytes += item.len();
            let files = FileCount { done: done.files, total: total.files };
            reporter.transfer(done.bytes, Some(total.bytes), ProgressUnit::Bytes, Some(files));
            self.item(item)
        })?;
        put_end(&mut self.out);
        flush(&mut self.out, &self.chunks)?;
        Ok(notices)
    }

    fn item(&mut self, item: Item<'_>) -> Result<(), FileSyncError> {
        let Item { entry, path, name, mode, mtime_s, kind } = item;
        let header =
            |kind| TarEntry { path: name, kind, mode, mtime: Timestamp { seconds: mtime_s, nanoseconds: 0 } };
        match kind {
            ItemKind::Directory => put_entry(&mut self.out, &header(EntryKind::Directory)),
            ItemKind::Symlink { target } => {
                put_entry(&mut self.out, &header(EntryKind::Symlink { target: target.into_vec() }));
            }
            ItemKind::File { file, len } => {
                let unread = |trouble| FileSyncError::Unread { entry: entry.clone(), path, trouble };
                let allocated = match file.metadata() {
                    Ok(found) => found.blocks() * 512,
                    Err(error) => return Err(unread(error.into())),
                };
                let looks = Looks { size: len, allocated };
                let chunks = &self.chunks;
                let packed = put_file(&mut self.out, header, looks, &mut OpenFile(&file), |out| {
                    flush_if_full(out, chunks)
                })?;
                // Half a secret is none.
                if let Packed::Cut { why, .. } | Packed::Left(why) = packed {
                    return Err(unread(why));
                }
            }
        }
        flush_if_full(&mut self.out, &self.chunks)
    }
}

fn flush_if_full(out: &mut Vec<u8>, chunks: &mpsc::Sender<Bytes>) -> Result<(), FileSyncError> {
    if out.len() < CHUNK_LEN { Ok(()) } else { flush(out, chunks) }
}

fn flush(out: &mut Vec<u8>, chunks: &mpsc::Sender<Bytes>) -> Result<(), FileSyncError> {
    let chunk = std::mem::replace(out, Vec::with_capacity(2 * CHUNK_LEN));
    chunks.blocking_send(chunk.into()).map_err(|_| FileSyncError::Cut)
}
