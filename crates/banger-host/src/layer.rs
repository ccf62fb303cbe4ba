//! One layer of an OCI image: from the blob as a registry has it to the plain tar file inside, verified. Tarballs of the user's go
//! the same way.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read};
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::decompress::XZ_MEMORY_KIB;
use crate::sparse_file::write_sparse;
use crate::system::free_disk_bytes;

const READ_LEN: usize = 256 << 10;

/// A multiple of the blocks that become holes.
const SPOOL_LEN: usize = 256 << 10;

/// How much larger than the blob its content may be. Sources come to a tenth, and an image of one whole large file of zeros is
/// no image that anybody boots.
const EXPANSION_MAX: u64 = 200;

/// What every layer may expand to, however small it is.
const EXPANSION_FREE_BYTES: u64 = 64 << 20;

/// The largest window of a zstd frame, as a power of two: 32 MiB, more than any level below `--ultra 21` uses. Two layers are
/// unpacked at once.
const ZSTD_WINDOW_LOG: u32 = 25;

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
    #[error("the image says that the archive {} is {declared}, and it is {found}", path.display())]
    Contradiction { path: PathBuf, declared: Compression, found: &'static str },
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
    #[error("unpacking the layer was cancelled")]
    Cancelled,
}

/// How a layer is packed, as its media type says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
    /// Of tarballs; no registry has such layers.
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

/// A layer as it was downloaded.
#[derive(Clone, Copy, Debug)]
pub struct LayerBlob<'a> {
    pub path: &'a Path,
    pub compression: Compression,
    /// `sha256:` and the digest of the tar file inside, as the image's configuration has it. None: nobody knows it.
    pub diff_id: Option<&'a str>,
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

/// Unpacks a layer into the file `spool` (which must not exist), with holes for zeros, and holds it against its digest. Of a
/// layer that is not compressed only the latter is done: no spool is made.
///
/// # Errors
///
/// When the blob is damaged, is not what it is said to be, expands beyond reason, or the disk is full, or when `progress` asks to
/// stop. No spool is left then.
pub fn unpack_layer(
    blob: &LayerBlob<'_>,
    spool: &Path,
    progress: Progress<'_>,
) -> Result<LayerTar, LayerError> {
    let read_error = |source| LayerError::Read { path: blob.path.to_owned(), source };
    let expected = blob.diff_id.map(digest_of).transpose()?;
    let file = File::open(blob.path).map_err(read_error)?;
    let blob_bytes = file.metadata().map_err(read_error)?.len();
    let mut source = BufReader::with_capacity(READ_LEN, Counted { file, count: 0 });
    check_magic(blob, source.fill_buf().map_err(read_error)?)?;
    let mut unpacking = Unpacking { blob, blob_bytes, spool, progress, size_bytes: 0, hash: Sha256::new() };
    if blob.compression == Compression::None {
        unpacking.copy(&mut Stream::Plain(source), None)?;
        unpacking.check(expected)?;
        return Ok(LayerTar { path: blob.path.to_owned(), size_bytes: unpacking.size_bytes });
    }
    let mut stream = Stream::of(blob.compression, source).map_err(read_error)?;
    let write_error = |source| LayerError::Write { path: spool.to_owned(), source };
    let output =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(spool).map_err(write_error)?;
    let unpacked = unpacking.copy(&mut stream, Some(&output)).and_then(|()| unpacking.check(expected));
    if let Err(error) = unpacked {
        // The error to report is the one at hand.
        let _ = std::fs::remove_file(spool);
        return Err(error);
    }
    Ok(LayerTar { path: spool.to_owned(), size_bytes: unpacking.size_bytes })
}

fn digest_of(diff_id: &str) -> Result<&str, LayerError> {
    diff_id
        .strip_prefix("sha256:")
        .filter(|hex| hex.len() == 64 && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')))
        .ok_or_else(|| LayerError::DiffId { diff_id: diff_id.to_owned() })
}

/// What the blob's first bytes say it is must be what the image says.
fn check_magic(blob: &LayerBlob<'_>, start: &[u8]) -> Result<(), LayerError> {
    const KINDS: [(&[u8], Option<Compression>, &str); 5] = [
        (&[0x1F, 0x8B], Some(Compression::Gzip), "compressed with gzip"),
        (&[0x28, 0xB5, 0x2F, 0xFD], Some(Compression::Zstd), "compressed with zstd"),
        (&[0xFD, b'7', b'z', b'X', b'Z', 0], Some(Compression::Xz), "compressed with xz"),
        (b"BZh", None, "compressed with bzip2"),
        (b"hsqs", None, "a squashfs image"),
    ];
    // A tar file may begin with anything, but it tells what it is further on.
    let is_tar = start.get(257..262) == Some(b"ustar");
    let found = match KINDS.iter().find(|(magic, ..)| start.starts_with(magic)) {
        _ if is_tar => (Some(Compression::None), "an uncompressed tar file"),
        Some((_, compression, name)) => (*compression, *name),
        // A skippable frame comes first in some zstd files, and tar files of old have no mark.
        None if blob.compression == Compression::Zstd && is_skippable_frame(start) => return Ok(()),
        None if blob.compression == Compression::None => return Ok(()),
        None => (None, "something else"),
    };
    if found.0 == Some(blob.compression) {
        return Ok(());
    }
    Err(LayerError::Contradiction { path: blob.path.to_owned(), declared: blob.compression, found: found.1 })
}

fn is_skippable_frame(start: &[u8]) -> bool {
    start.first_chunk::<4>().is_some_and(|magic| u32::from_le_bytes(*magic) & !0xF == 0x184D_2A50)
}

/// Counts what was read of the blob.
struct Counted {
    file: File,
    count: u64,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.file.read(buffer)?;
        self.count += len as u64;
        Ok(len)
    }
}

type Source = BufReader<Counted>;

enum Stream {
    Plain(Source),
    Gzip(Box<flate2::bufread::MultiGzDecoder<Source>>),
    Zstd(zstd::Decoder<'static, Source>),
    Xz(Box<lzma_rust2::XzReader<Source>>),
}

impl Stream {
    fn of(compression: Compression, source: Source) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Self::Plain(source),
            Compression::Gzip => Self::Gzip(Box::new(flate2::bufread::MultiGzDecoder::new(source))),
            Compression::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(source)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG)?;
                Self::Zstd(decoder)
            }
            Compression::Xz => {
                Self::Xz(Box::new(lzma_rust2::XzReader::new_mem_limit(source, true, XZ_MEMORY_KIB)))
            }
        })
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(source) => source.read(buffer),
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Zstd(decoder) => decoder.read(buffer),
            Self::Xz(decoder) => decoder.read(buffer),
        }
    }

    /// As much as there is room for; less only at the end.
    fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut len = 0;
        while len < buffer.len() {
            match self.read(&mut buffer[len..]) {
                Ok(0) => break,
                Ok(more) => len += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(len)
    }

    fn consumed_bytes(&self) -> u64 {
        match self {
            Self::Plain(source) => source.get_ref().count,
            Self::Gzip(decoder) => decoder.get_ref().get_ref().count,
            Self::Zstd(decoder) => decoder.get_ref().get_ref().count,
            Self::Xz(decoder) => decoder.inner().get_ref().count,
        }
    }
}

struct Unpacking<'a> {
    blob: &'a LayerBlob<'a>,
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
            if self.blob.compression != Compression::None && self.size_bytes > max_bytes {
                let (path, blob_bytes) = (self.blob.path.to_owned(), self.blob_bytes);
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

    fn check(&mut self, expected: Option<&str>) -> Result<(), LayerError> {
        let Some(expected) = expected else { return Ok(()) };
        let digest = std::mem::take(&mut self.hash).finalize();
        let actual: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        if actual == expected {
            return Ok(());
        }
        let expected = format!("sha256:{expected}");
        Err(LayerError::WrongContent { path: self.blob.path.to_owned(), expected, actual })
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
        let path = self.blob.path.to_owned();
        // The system's errors come with their number, the decoders' ones do not.
        if source.raw_os_error().is_some() {
            return LayerError::Read { path, source };
        }
        LayerError::Damaged { path, compression: self.blob.compression, source }
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
