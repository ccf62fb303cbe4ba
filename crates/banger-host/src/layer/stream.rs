//! The decoders, and which of them a blob needs.

use std::io::{self, Read};

use super::Compression;
use super::source::Source;
use crate::decompress::XZ_MEMORY_KIB;

/// The largest window of a zstd frame, as a power of two: the 128 MiB that `zstd -d` takes without being told
/// to. Two layers are unpacked at once.
const ZSTD_WINDOW_LOG: u32 = 27;

/// Tells by its first bytes how a blob is packed, or what it is that is not read. Whatever is of no known
/// kind is taken for a tar file: those of old have no mark, and an empty one has nothing.
pub(super) fn packed_as(start: &[u8]) -> Result<Compression, &'static str> {
    const KINDS: [(&[u8], Result<Compression, &str>); 5] = [
        (&[0x1F, 0x8B], Ok(Compression::Gzip)),
        (&[0x28, 0xB5, 0x2F, 0xFD], Ok(Compression::Zstd)),
        (&[0xFD, b'7', b'z', b'X', b'Z', 0], Ok(Compression::Xz)),
        (b"BZh", Err("compressed with bzip2")),
        (b"hsqs", Err("a squashfs image")),
    ];
    // A tar file may begin with anything, but it tells what it is further on.
    if start.get(257..262) == Some(b"ustar") {
        return Ok(Compression::None);
    }
    match KINDS.iter().find(|(magic, _)| start.starts_with(magic)) {
        Some((_, kind)) => *kind,
        // It comes first in some zstd files.
        None if is_skippable_frame(start) => Ok(Compression::Zstd),
        None => Ok(Compression::None),
    }
}

/// Its magic number, and that its length is what a frame has that holds a few marks: a tar file of old may
/// begin with these letters.
fn is_skippable_frame(start: &[u8]) -> bool {
    const LEN_MAX: u32 = 1 << 20;
    let number =
        |at: usize| start.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
    number(0).is_some_and(|magic| magic & !0xF == 0x184D_2A50) && number(4).is_some_and(|len| len <= LEN_MAX)
}

pub(super) enum Stream {
    Plain(Source),
    Gzip(Box<flate2::bufread::MultiGzDecoder<Source>>),
    Zstd(zstd::Decoder<'static, Source>),
    Xz(Box<lzma_rust2::XzReader<Source>>),
}

impl Stream {
    pub(super) fn of(compression: Compression, source: Source) -> io::Result<Self> {
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
    pub(super) fn fill(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
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

    pub(super) fn consumed_bytes(&self) -> u64 {
        self.source().consumed_bytes()
    }

    /// Of the blob, which was read to its end; none where nobody asked for it.
    pub(super) fn blob_digest(&self) -> Option<Vec<u8>> {
        self.source().digest()
    }

    fn source(&self) -> &Source {
        match self {
            Self::Plain(source) => source,
            Self::Gzip(decoder) => decoder.get_ref(),
            Self::Zstd(decoder) => decoder.get_ref(),
            Self::Xz(decoder) => decoder.inner(),
        }
    }
}
