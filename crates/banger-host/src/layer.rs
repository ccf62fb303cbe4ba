//! One layer of an OCI image: from the blob as a registry or an archive has it to the plain tar file inside,
//! verified. Tarballs of the user's go the same way.
//!
//! How a blob is packed is told by its first bytes, as Docker and Podman do it: media types are wrong in many
//! an image whose digests are right.

pub(crate) mod source;
mod stream;

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use self::source::Source;
use self::stream::{Stream, packed_as};
use crate::sparse_file::write_sparse;
use crate::system::free_disk_bytes;
use crate::tar_source::FileContent;

/// A multiple of the blocks that become holes.
const SPOOL_LEN: usize = 256 << 10;

/// How much larger than the blob its content may be. Sources come to a tenth, and an image of one whole large
/// file of zeros is no image that anybody boots.
const EXPANSION_MAX: u64 = 200;

/// What every layer may expand to, however small it is.
const EXPANSION_FREE_BYTES: u64 = 64 << 20;

/// Why a layer could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    #[error("could not read the archive {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("could not write the unpacked archive {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error(
        "the disk that holds {} is full: the archive needs at least {} MiB, {} MiB are free",
        path.display(), needed_bytes.div_ceil(1 << 20), free_bytes >> 20
    )]
    NoSpace { path: PathBuf, needed_bytes: u64, free_bytes: u64 },
    #[error("{diff_id:?} is no digest of a layer; expected \"sha256:\" and 64 hexadecimal digits")]
    DiffId { diff_id: String },
    #[error("the archive {} is {found}, which is not read", path.display())]
    Unknown { path: PathBuf, found: &'static str },
    #[error("the archive {} is cut off or damaged ({compression})", path.display())]
    Damaged { path: PathBuf, compression: Compression, source: io::Error },
    #[error(
        "the archive {} has {} bytes and expands to more than {} MiB, as an attack on disk space would; \
        if you trust it, unpack it yourself and bring the plain tar in with `banger image import`",
        path.display(), blob_bytes, max_bytes >> 20
    )]
    Expands { path: PathBuf, blob_bytes: u64, max_bytes: u64 },
    #[error("the archive {} holds sha256:{actual}, and the image says it is {expected}", path.display())]
    WrongContent { path: PathBuf, expected: String, actual: String },
    #[error("the archive {} has the digest sha256:{actual}, and the image says it is {expected}", path.display())]
    WrongBlob { path: PathBuf, expected: String, actual: String },
    #[error("unpacking the layer was cancelled")]
    Cancelled,
}

/// How a layer is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
    Xz,
}

impl fmt::Display for Compression {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::None => "an uncompressed tar file",
            Self::Gzip => "compressed with gzip",
            Self::Zstd => "compressed with zstd",
            Self::Xz => "compressed with xz",
        })
    }
}

/// A layer as it was downloaded, or as it lies in an archive.
#[derive(Clone, Copy, Debug)]
pub struct LayerBlob<'a> {
    pub path: &'a Path,
    /// The part of the file that it is. None: all of it.
    pub part: Option<BlobPart<'a>>,
    /// `sha256:` and the digest of the blob. None: it was checked before, or nobody knows it.
    pub digest: Option<&'a str>,
    /// `sha256:` and the digest of the tar file inside, as the image's configuration has it. None: nobody
    /// knows it.
    pub diff_id: Option<&'a str>,
}

/// A file in a tar file.
#[derive(Clone, Copy, Debug)]
pub struct BlobPart<'a> {
    /// For errors.
    pub name: &'a str,
    pub content: &'a FileContent,
}

impl LayerBlob<'_> {
    /// The file for errors, and what in it.
    fn display_path(&self) -> PathBuf {
        let path = self.path.to_owned();
        self.part.map_or(path, |part| format!("{}:{}", self.path.display(), part.name).into())
    }
}

/// A layer's plain tar file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerTar {
    /// The spool, or the blob itself when it was not compressed.
    pub path: PathBuf,
    pub size_bytes: u64,
}

/// Told how many bytes of the blob are done, and of how many. It may ask to stop.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64) -> ControlFlow<()>;

/// Unpacks a layer into the file `spool` (which must not exist), with holes for zeros, and holds it against
/// its digests. Of a whole file that is not compressed only the latter is done: no spool is made.
///
/// # Errors
///
/// When the blob is damaged, is not what it is said to be, expands beyond reason, or the disk is full, or
/// when `progress` asks to stop. No spool is left then.
pub fn unpack_layer(
    blob: &LayerBlob<'_>,
    spool: &Path,
    progress: Progress<'_>,
) -> Result<LayerTar, LayerError> {
    let read_error = |source| LayerError::Read { path: blob.display_path(), source };
    let expected = Expected { diff_id: blob.diff_id.map(digest_of).transpose()?, blob: blob.digest };
    let file = File::open(blob.path).map_err(read_error)?;
    let mut source = Source::new(file, blob.part.map(|part| part.content.clone()), blob.digest.is_some());
    let blob_bytes = source.len().map_err(read_error)?;
    let start = source.start().map_err(read_error)?;
    let compression =
        packed_as(start).map_err(|found| LayerError::Unknown { path: blob.display_path(), found })?;
    let mut stream = Stream::of(compression, source).map_err(read_error)?;
    let (size_bytes, hash) = (0, Sha256::new());
    let mut unpacking = Unpacking { blob, compression, blob_bytes, spool, progress, size_bytes, hash };
    if compression == Compression::None && blob.part.is_none() {
        unpacking.copy(&mut stream, None)?;
        unpacking.check(expected, stream)?;
        return Ok(LayerTar { path: blob.path.to_owned(), size_bytes: unpacking.size_bytes });
    }
    let write_error = |source| LayerError::Write { path: spool.to_owned(), source };
    let output =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(spool).map_err(write_error)?;
    let copied = unpacking.copy(&mut stream, Some(&output));
    if let Err(error) = copied.and_then(|()| unpacking.check(expected, stream)) {
        // The error to report is the one at hand.
        let _ = std::fs::remove_file(spool);
        return Err(error);
    }
    Ok(LayerTar { path: spool.to_owned(), size_bytes: unpacking.size_bytes })
}

/// What the image says.
#[derive(Clone, Copy)]
struct Expected<'a> {
    /// Digits only.
    diff_id: Option<&'a str>,
    blob: Option<&'a str>,
}

fn digest_of(diff_id: &str) -> Result<&str, LayerError> {
    diff_id
        .strip_prefix("sha256:")
        .filter(|hex| hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))
        .ok_or_else(|| LayerError::DiffId { diff_id: diff_id.to_owned() })
}

struct Unpacking<'a> {
    blob: &'a LayerBlob<'a>,
    compression: Compression,
    blob_bytes: u64,
    spool: &'a Path,
    progress: Progress<'a>,
    size_bytes: u64,
    hash: Sha256,
}

impl Unpacking<'_> {
    fn copy(&mut self, stream: &mut Stream, output: Option<&File>) -> Result<(), LayerError> {
        let max_bytes = self.blob_bytes.saturating_mul(EXPANSION_MAX).max(EXPANSION_FREE_BYTES);
        if output.is_some() {
            self.check_space()?;
        }
        let mut buffer = vec![0; SPOOL_LEN];
        loop {
            if (self.progress)(stream.consumed_bytes(), self.blob_bytes).is_break() {
                return Err(LayerError::Cancelled);
            }
            let len = stream.fill(&mut buffer).map_err(|source| self.stream_error(source))?;
            if len == 0 {
                break;
            }
            let position = self.size_bytes;
            self.size_bytes += len as u64;
            if self.compression != Compression::None && self.size_bytes > max_bytes {
                let (path, blob_bytes) = (self.blob.display_path(), self.blob_bytes);
                return Err(LayerError::Expands { path, blob_bytes, max_bytes });
            }
            self.hash.update(&buffer[..len]);
            if let Some(output) = output {
                write_sparse(output, position, &buffer[..len]).map_err(|source| self.write_error(source))?;
            }
        }
        match output {
            Some(output) => output.set_len(self.size_bytes).map_err(|source| self.write_error(source)),
            None => Ok(()),
        }
    }

    fn check(&mut self, expected: Expected<'_>, stream: Stream) -> Result<(), LayerError> {
        let path = self.blob.display_path();
        let blob = stream.blob_digest().map(|digest| hex::encode(&digest)).zip(expected.blob);
        if let Some((actual, expected)) =
            blob.filter(|(actual, expected)| format!("sha256:{actual}") != *expected)
        {
            return Err(LayerError::WrongBlob { path, expected: expected.to_owned(), actual });
        }
        let actual = hex::encode(std::mem::take(&mut self.hash).finalize());
        match expected.diff_id.filter(|expected| *expected != actual) {
            Some(expected) => {
                Err(LayerError::WrongContent { path, expected: format!("sha256:{expected}"), actual })
            }
            None => Ok(()),
        }
    }

    /// A layer that is hardly packed at all does not even have to be tried.
    fn check_space(&self) -> Result<(), LayerError> {
        let free_bytes = free_disk_bytes(self.spool).unwrap_or(u64::MAX);
        if free_bytes >= self.blob_bytes {
            return Ok(());
        }
        Err(LayerError::NoSpace { path: self.spool.to_owned(), needed_bytes: self.blob_bytes, free_bytes })
    }

    fn stream_error(&self, source: io::Error) -> LayerError {
        let path = self.blob.display_path();
        // The system's errors come with their number, the decoders' ones do not.
        if source.raw_os_error().is_some() {
            return LayerError::Read { path, source };
        }
        LayerError::Damaged { path, compression: self.compression, source }
    }

    fn write_error(&self, source: io::Error) -> LayerError {
        let path = self.spool.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                let free_bytes = free_disk_bytes(self.spool).unwrap_or(0);
                LayerError::NoSpace { path, needed_bytes: self.size_bytes, free_bytes }
            }
            _ => LayerError::Write { path, source },
        }
    }
}

#[cfg(test)]
#[path = "layer_tests.rs"]
mod tests;
