//! From local files, or from stdin, to an archive under way.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use banger_api::files::archive::{Entry, EntryKind, Timestamp, put_end, put_entry, put_padding};
use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::fs::{Mode, OFlags};
use rustix::io::retry_on_intr;
use tokio::sync::mpsc;

use super::walk::Found;
use super::{CopyError, Source};

const PIECE_LEN: usize = 64 * 1024;

/// An archive on its way to the daemon. An error in it cuts the copy off; who made it keeps the reason.
pub(crate) type Pieces = mpsc::Sender<Result<Bytes, io::Error>>;

/// How many bytes of an archive have gone by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Moved(Arc<AtomicU64>);

impl Moved {
    pub(crate) fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Packs `source` under `name`; for contents that go into a directory that is there, without the directory itself.
///
/// # Errors
///
/// What could not be read. The archive is cut off then.
pub(crate) fn pack(
    source: &Source,
    name: &[u8],
    without_itself: bool,
    pieces: &Pieces,
    moved: &Moved,
) -> Result<(), CopyError> {
    let mut packer = Packer { out: Vec::with_capacity(PIECE_LEN), pieces, moved };
    for found in source.walk(name).skip(usize::from(without_itself)) {
        match found.and_then(|found| packer.found(found)) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(error) => {
                // The error is answered below; this only cuts the archive off, which a lost receiver has done itself.
                let _sent = pieces.blocking_send(Err(io::Error::other(error.to_string())));
                return Err(error);
            }
        }
    }
    put_end(&mut packer.out);
    packer.send();
    Ok(())
}

struct Packer<'a> {
    out: Vec<u8>,
    pieces: &'a Pieces,
    moved: &'a Moved,
}

impl Packer<'_> {
    /// False: nobody takes the archive any more.
    fn found(&mut self, found: Found) -> Result<bool, CopyError> {
        let kind = match () {
            () if found.metadata.is_file() => return self.file(found),
            () if found.metadata.is_dir() => EntryKind::Directory,
            () if found.metadata.is_symlink() => {
                let target = std::fs::read_link(&found.path).map_err(CopyError::io("read", &found.path))?;
                EntryKind::Symlink { target: target.into_os_string().into_vec() }
            }
            // It was told of in the survey.
            () => return Ok(true),
        };
        self.entry(found.name, kind, &found.metadata);
        Ok(self.send_if_full())
    }

    fn file(&mut self, found: Found) -> Result<bool, CopyError> {
        let path = &found.path;
        let file = open(path).map_err(CopyError::io("read", path))?;
        let metadata = file.metadata().map_err(CopyError::io("read", path))?;
        if !metadata.is_file() {
            return Err(CopyError::NotCopyable { path: path.clone() });
        }
        let size = metadata.len();
        self.entry(found.name, EntryKind::File { size }, &metadata);
        let mut left = size;
        while left > 0 {
            if !self.send_if_full() {
                return Ok(false);
            }
            let count = retry_on_intr(|| rustix::io::read(&file, spare_capacity(&mut self.out)))
                .map_err(|errno| CopyError::io("read", path)(errno.into()))?;
            if count == 0 {
                return Err(CopyError::Shrank { path: path.clone() });
            }
            // What was appended since is not part of it.
            let surplus = (count as u64).saturating_sub(left) as usize;
            self.out.truncate(self.out.len() - surplus);
            left -= (count - surplus) as u64;
        }
        put_padding(&mut self.out, size);
        Ok(self.send_if_full())
    }

    fn entry(&mut self, path: Vec<u8>, kind: EntryKind, found: &std::fs::Metadata) {
        let mtime = Timestamp { seconds: found.mtime(), nanoseconds: found.mtime_nsec() as u32 };
        put_entry(&mut self.out, &Entry { path, kind, mode: found.mode() & 0o7777, mtime });
    }

    fn send_if_full(&mut self) -> bool {
        self.out.len() < PIECE_LEN - PIECE_LEN / 8 || self.send()
    }

    fn send(&mut self) -> bool {
        let piece = std::mem::replace(&mut self.out, Vec::with_capacity(PIECE_LEN));
        self.moved.add(piece.len());
        self.pieces.blocking_send(Ok(piece.into())).is_ok()
    }
}

/// Opens a file, and does not wait should it have become something else meanwhile.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

/// Passes stdin on to its end.
///
/// # Errors
///
/// When it cannot be read. The archive is cut off then.
pub(crate) fn stdin(pieces: &Pieces, moved: &Moved) -> Result<(), CopyError> {
    let failed = |error: io::Error| {
        // As above.
        let _sent = pieces.blocking_send(Err(io::Error::other(error.to_string())));
        CopyError::io("read", "stdin")(error)
    };
    let mut stdin = File::from(io::stdin().as_fd().try_clone_to_owned().map_err(failed)?);
    loop {
        let mut piece = Vec::with_capacity(PIECE_LEN);
        let count = (&mut stdin).take(PIECE_LEN as u64).read_to_end(&mut piece).map_err(failed)?;
        moved.add(count);
        if count == 0 || pieces.blocking_send(Ok(piece.into())).is_err() {
            return Ok(());
        }
    }
}
