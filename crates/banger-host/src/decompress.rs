//! Decompression with a bound on the result: what comes out of an archive is foreign.

use std::io::{self, Read};

const GZIP_MAGIC: &[u8] = &[0x1F, 0x8B];
const XZ_MAGIC: &[u8] = &[0xFD, b'7', b'z', b'X', b'Z', 0];
const ZSTD_MAGIC: &[u8] = &[0x28, 0xB5, 0x2F, 0xFD];
const LZ4_LEGACY_MAGIC: &[u8] = &[0x02, 0x21, 0x4C, 0x18];
/// The usual properties, and the low bytes of any usual dictionary's size.
const LZMA_MAGIC: &[u8] = &[0x5D, 0, 0];

/// Largest block of a legacy LZ4 frame, uncompressed, in bytes.
const LZ4_BLOCK_LEN: usize = 8 << 20;

/// How much memory the xz and LZMA decoders may take, in KiB: 64 MiB is what `xz -9` needs.
pub(crate) const XZ_MEMORY_KIB: u32 = 80 << 10;

/// A compressed format, told by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compression {
    Gzip,
    Xz,
    Zstd,
    /// What `lz4 -l` makes, and the kernel's build.
    Lz4Legacy,
    /// What came before xz.
    Lzma,
}

impl Compression {
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        let formats = [
            (GZIP_MAGIC, Self::Gzip),
            (XZ_MAGIC, Self::Xz),
            (ZSTD_MAGIC, Self::Zstd),
            (LZ4_LEGACY_MAGIC, Self::Lz4Legacy),
            (LZMA_MAGIC, Self::Lzma),
        ];
        formats.into_iter().find(|(magic, _)| bytes.starts_with(magic)).map(|(_, format)| format)
    }

    /// Decompresses the first stream in `bytes`; what follows it is ignored (kernel builds append a length).
    ///
    /// # Errors
    ///
    /// When the data is damaged or becomes more than `max_len` bytes.
    pub(crate) fn decompress(self, bytes: &[u8], max_len: usize) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip => read_bounded(flate2::bufread::GzDecoder::new(bytes), max_len),
            Self::Xz => {
                read_bounded(lzma_rust2::XzReader::new_mem_limit(bytes, false, XZ_MEMORY_KIB), max_len)
            }
            Self::Zstd => read_bounded(zstd::Decoder::with_buffer(bytes)?.single_frame(), max_len),
            Self::Lz4Legacy => lz4_legacy(bytes, max_len),
            Self::Lzma => {
                read_bounded(lzma_rust2::LzmaReader::new_mem_limit(bytes, XZ_MEMORY_KIB, None)?, max_len)
            }
        }
    }
}

fn read_bounded(reader: impl Read, max_len: usize) -> io::Result<Vec<u8>> {
    let mut output = Vec::new();
    reader.take(max_len as u64 + 1).read_to_end(&mut output)?;
    if output.len() > max_len { Err(too_large(max_len)) } else { Ok(output) }
}

fn too_large(max_len: usize) -> io::Error {
    invalid(format!("it becomes more than {} MiB", max_len >> 20))
}

fn invalid(detail: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, detail)
}

/// Blocks of `length: u32 little-endian` and compressed data, without an end mark: the end of the input is
/// the end.
fn lz4_legacy(bytes: &[u8], max_len: usize) -> io::Result<Vec<u8>> {
    let mut rest = &bytes[LZ4_LEGACY_MAGIC.len()..];
    let (mut output, mut block) = (Vec::new(), Vec::new());
    while let Some((header, after)) = rest.split_first_chunk::<4>() {
        rest = after;
        // Concatenated frames.
        if header == LZ4_LEGACY_MAGIC {
            continue;
        }
        // The appended length of the whole stands where another block's length would.
        if rest.is_empty() {
            break;
        }
        let len = u32::from_le_bytes(*header) as usize;
        let Some((data, after)) = rest.split_at_checked(len) else {
            return Err(invalid(format!("an LZ4 block of {len} bytes is cut off")));
        };
        rest = after;
        block.resize(LZ4_BLOCK_LEN, 0);
        let block_len =
            lz4_flex::block::decompress_into(data, &mut block).map_err(|error| invalid(error.to_string()))?;
        output.extend_from_slice(&block[..block_len]);
        if output.len() > max_len {
            return Err(too_large(max_len));
        }
    }
    Ok(output)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 1 << 20;

    /// Every format's form of `bytes`.
    pub(crate) fn compress(format: Compression, bytes: &[u8]) -> Vec<u8> {
        match format {
            Compression::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(bytes).unwrap();
                encoder.finish().unwrap()
            }
            Compression::Zstd => zstd::encode_all(bytes, 1).unwrap(),
            Compression::Xz => xz(bytes, &["--check=crc32", "--x86", "--lzma2=dict=32MiB"]),
            Compression::Lzma => xz(bytes, &["--format=lzma"]),
            Compression::Lz4Legacy => {
                let mut output = LZ4_LEGACY_MAGIC.to_vec();
                for chunk in bytes.chunks(LZ4_BLOCK_LEN) {
                    let block = lz4_flex::block::compress(chunk);
                    output.extend_from_slice(&(block.len() as u32).to_le_bytes());
                    output.extend_from_slice(&block);
                }
                output
            }
        }
    }

    /// The encoder is not compiled in, so the system's own makes the sample, as the kernel's build has it do.
    fn xz(bytes: &[u8], args: &[&str]) -> Vec<u8> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let xz = crate::command::Command::new("xz").arg("-c").args(args).stdin(bytes.to_vec());
        runtime.block_on(xz.run()).unwrap().stdout
    }

    const ALL: [Compression; 5] =
        [Compression::Gzip, Compression::Xz, Compression::Zstd, Compression::Lz4Legacy, Compression::Lzma];

    #[test]
    fn every_format_comes_back_and_trailing_bytes_do_not_matter() {
        let original: Vec<u8> = (0..300_000_u32).flat_map(|n| (n / 3).to_le_bytes()).collect();
        for format in ALL {
            let by_xz = matches!(format, Compression::Xz | Compression::Lzma);
            if by_xz && crate::command::find_program("xz").is_err() {
                println!("skipped: xz is not installed");
                continue;
            }
            let mut packed = compress(format, &original);
            assert_eq!(Compression::of(&packed), Some(format));
            packed.extend_from_slice(&(original.len() as u32).to_le_bytes());
            assert!(format.decompress(&packed, 2 * LIMIT).unwrap() == original, "{format:?}");
            assert!(format.decompress(&packed, LIMIT).is_err(), "{format:?} exceeded its bound");
        }
    }

    proptest! {
        #[test]
        fn damaged_input_never_panics_nor_exceeds_the_bound(
            format in prop::sample::select(vec![Compression::Gzip, Compression::Zstd, Compression::Lz4Legacy]),
            original in prop::collection::vec(any::<u8>(), 0..2000),
            hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..10),
        ) {
            let mut packed = compress(format, &original);
            for (at, byte) in hits {
                let at = at.index(packed.len());
                packed[at] = byte;
            }
            for format in ALL {
                if let Ok(output) = format.decompress(&[&packed[..], &[0; 16]].concat(), LIMIT) {
                    prop_assert!(output.len() <= LIMIT);
                }
            }
        }
    }
}
