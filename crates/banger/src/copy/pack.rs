//! From local files, or from stdin, to an archive under way.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use banger_api::ApiError;
use banger_api::files::archive::{
    Entry, EntryKind, Looks, Note, OpenFile, Packed, Timestamp, put_end, put_entry, put_file, put_note,
};
use bytes::Bytes;
use rustix::fs::{Mode, OFlags};
use tokio::sync::mpsc;

use super::walk::Found;
use super::{CopyError, Remarks, Source};
use crate::ui::file_name;

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

/// Packs `source` under `name`; for contents that go into a directory that is there, without the directory
/// itself. What cannot be read is left out, and told in the answer.
///
/// # Errors
///
/// When the source itself cannot be read. The archive is cut off then.
pub(crate) fn pack(
    source: &Source,
    name: &[u8],
    without_itself: bool,
    pieces: &Pieces,
    moved: &Moved,
) -> Result<Remarks, CopyError> {
    let out = Vec::with_capacity(PIECE_LEN);
    let mut packer = Packer { out, pieces, moved, follow: source.follow, remarks: Remarks::default() };
    for (at, found) in source.walk(name).enumerate() {
        let packed = match found {
            Ok(_) if at == 0 && without_itself => continue,
            Ok(found) => packer.found(found),
            Err(error) => Err(error.into()),
        };
        match packed {
            Ok(()) => {}
            Err(Stop::Unwanted) => return Ok(packer.remarks),
            Err(Stop::Failed(error)) if at == 0 => {
                // The error is answered below; this only cuts the archive off, which a lost receiver has done
                // itself.
                let _sent = pieces.blocking_send(Err(io::Error::other(error.to_string())));
                return Err(error);
            }
            Err(Stop::Failed(CopyError::Vanished { path } | CopyError::NotFound { path })) => {
                packer.remarks.vanished.push(file_name(path));
            }
            Err(Stop::Failed(error)) => packer.remarks.failures.push(line(&error)),
        }
    }
    put_end(&mut packer.out);
    // Nobody may take it any more; whoever cut it off knows why.
    let _sent = send(&mut packer.out, pieces, moved);
    Ok(packer.remarks)
}

/// An error and its causes in a line.
fn line(error: &CopyError) -> String {
    let api_error = ApiError::from_error(error.code(), error);
    std::iter::once(api_error.message).chain(api_error.causes).collect::<Vec<_>>().join(": ")
}

/// Why packing does not go on.
enum Stop {
    Failed(CopyError),
    /// Nobody takes the archive any more.
    Unwanted,
}

impl From<CopyError> for Stop {
    fn from(error: CopyError) -> Self {
        Self::Failed(error)
    }
}

struct Packer<'a> {
    out: Vec<u8>,
    pieces: &'a Pieces,
    moved: &'a Moved,
    follow: bool,
    remarks: Remarks,
}

impl Packer<'_> {
    fn found(&mut self, found: Found) -> Result<(), Stop> {
        let kind = match () {
            () if found.metadata.is_file() => return self.file(&found),
            () if found.metadata.is_dir() => EntryKind::Directory,
            () if found.metadata.is_symlink() => {
                let target = std::fs::read_link(&found.path).map_err(CopyError::io("read", &found.path))?;
                EntryKind::Symlink { target: target.into_os_string().into_vec() }
            }
            // It was told of in the survey.
            () => return Ok(()),
        };
        put_entry(&mut self.out, &entry(&found.name, kind, &found.metadata));
        send_if_full(&mut self.out, self.pieces, self.moved)
    }

    fn file(&mut self, found: &Found) -> Result<(), Stop> {
        let path = &found.path;
        let file = open(path, self.follow).map_err(CopyError::io("read", path))?;
        let metadata = file.metadata().map_err(CopyError::io("read", path))?;
        if !metadata.is_file() {
            return Err(CopyError::NotCopyable { path: path.clone() }.into());
        }
        let head = |kind| entry(&found.name, kind, &metadata);
        let (pieces, moved) = (self.pieces, self.moved);
        let flush_if_full = |out: &mut Vec<u8>| send_if_full(out, pieces, moved);
        match put_file(
            &mut self.out,
            head,
            Looks::new(metadata.len(), metadata.blocks()),
            &mut OpenFile(&file),
            flush_if_full,
        )? {
            Packed::Whole => {}
            Packed::Cut { len, why } => {
                let (name, reason) = (found.name.clone(), why.to_string());
                put_note(&mut self.out, &Note::Cut { path: name, len, reason });
                self.remarks
                    .failures
                    .push(CopyError::Unread { path: path.clone(), trouble: why }.to_string());
            }
            Packed::Left(trouble) => return Err(CopyError::Unread { path: path.clone(), trouble }.into()),
        }
        Ok(())
    }
}

fn entry(path: &[u8], kind: EntryKind, found: &std::fs::Metadata) -> Entry {
    let mtime = Timestamp { seconds: found.mtime(), nanoseconds: found.mtime_nsec() as u32 };
    Entry { path: path.to_vec(), kind, mode: found.mode() & 0o7777, mtime }
}

fn send_if_full(out: &mut Vec<u8>, pieces: &Pieces, moved: &Moved) -> Result<(), Stop> {
    if out.len() < PIECE_LEN - PIECE_LEN / 8 { Ok(()) } else { send(out, pieces, moved) }
}

fn send(out: &mut Vec<u8>, pieces: &Pieces, moved: &Moved) -> Result<(), Stop> {
    let piece = std::mem::replace(out, Vec::with_capacity(PIECE_LEN));
    moved.add(piece.len());
    pieces.blocking_send(Ok(piece.into())).map_err(|_| Stop::Unwanted)
}

/// Opens a file, and does not wait should it have become something else meanwhile.
fn open(path: &Path, follow: bool) -> io::Result<File> {
    let nofollow = if follow { OFlags::empty() } else { OFlags::NOFOLLOW };
    let flags = OFlags::RDONLY | nofollow | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?.into())
}

/// Passes stdin on to its end.
///
/// # Errors
///
/// When it cannot be read. The archive is cut off then.
pub(crate) fn stdin(pieces: &Pieces, moved: &Moved) -> Result<Remarks, CopyError> {
    let failed = |error: io::Error| {
        // As above.
        let _sent = pieces.blocking_send(Err(io::Error::other(error.to_string())));
        CopyError::io("read", "stdin")(error)
    };
    let mut stdin = File::from(io::stdin().as_fd().try_clone_to_owned().map_err(failed)?);
    let mut first = true;
    loop {
        let mut piece = Vec::with_capacity(PIECE_LEN);
        let count = (&mut stdin).take(PIECE_LEN as u64).read_to_end(&mut piece).map_err(failed)?;
        if std::mem::take(&mut first)
            && let Some(program) = compression(&piece)
        {
            failed(io::ErrorKind::InvalidData.into());
            return Err(CopyError::Compressed(program));
        }
        moved.add(count);
        if count == 0 || pieces.blocking_send(Ok(piece.into())).is_err() {
            return Ok(Remarks::default());
        }
    }
}

/// The program that has compressed what begins like this.
fn compression(beginning: &[u8]) -> Option<&'static str> {
    let programs: [(&[u8], &str); 4] = [
        (&[0x1f, 0x8b], "gzip"),
        (&[0x28, 0xb5, 0x2f, 0xfd], "zstd"),
        (b"\xfd7zXZ\0", "xz"),
        (b"BZh", "bzip2"),
    ];
    programs.iter().find(|(magic, _)| beginning.starts_with(magic)).map(|(_, program)| *program)
}
