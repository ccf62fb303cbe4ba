//! Sparse files: the forms in which tar files say which parts of them are there.

use std::io;

use super::blocks::BlockReader;
use super::header::{BLOCK_LEN, Header, number};
use super::pax::decimal;
use super::{FileContent, Segment};

/// Longest map accepted, in segments: a bound on memory, far above what any real file has.
const SEGMENTS_MAX: usize = 1 << 20;

/// Length of one pair of numbers in an old GNU map, and of the pairs in one of the map's own blocks.
const GNU_PAIR_LEN: usize = 24;
const GNU_PAIRS_LEN: usize = 21 * GNU_PAIR_LEN;

/// Offsets and lengths of the runs of data.
type SparseMap = Vec<(u64, u64)>;

/// What a PAX header says about a sparse file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SparseKeys {
    /// The file's real name; the entry's own one is for programs that do not know sparse files.
    pub(super) name: Option<Vec<u8>>,
    /// How long the file is once unpacked.
    size: Option<u64>,
    /// The numbers of the map, of formats 0.0 and 0.1.
    numbers: Option<Vec<u64>>,
    major: Option<u64>,
    minor: Option<u64>,
}

impl SparseKeys {
    /// None when the value is malformed.
    pub(super) fn set(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            b"name" => self.name = Some(value.to_vec()),
            b"realsize" | b"size" => self.size = Some(decimal(value)?),
            b"major" => self.major = Some(decimal(value)?),
            b"minor" => self.minor = Some(decimal(value)?),
            b"map" if value.is_empty() => self.numbers = Some(Vec::new()),
            b"map" => {
                let numbers = value.split(|byte| *byte == b',').map(decimal);
                self.numbers = Some(numbers.collect::<Option<_>>()?);
            }
            b"offset" | b"numbytes" => {
                let numbers = self.numbers.get_or_insert_default();
                // They come in pairs.
                if numbers.len().is_multiple_of(2) != (key == b"offset") {
                    return None;
                }
                numbers.push(decimal(value)?);
            }
            _ => {}
        }
        Some(())
    }
}

/// Where the contents are that lie from `start` on. None when the map is malformed or does not fit what is
/// stored.
pub(super) fn content(
    blocks: &mut BlockReader<'_>,
    header: &Header,
    keys: &SparseKeys,
    start: u64,
    stored: u64,
) -> io::Result<Option<FileContent>> {
    let version = (keys.major.unwrap_or(0), keys.minor.unwrap_or(0));
    let (size, map, data_start, data_len) = if header.kind() == b'S' {
        let Some((map, data_start)) = gnu_map(blocks, header, start)? else { return Ok(None) };
        (header.sparse_size(), map, data_start, stored)
    } else if version == (1, 0) {
        let Some((map, data_start)) = pax_map(blocks, start, stored)? else { return Ok(None) };
        (keys.size, map, data_start, stored - (data_start - start))
    } else if version.0 != 0 || version.1 > 1 {
        return Ok(None);
    } else if let Some(numbers) = &keys.numbers {
        let Some(map) = pairs(numbers) else { return Ok(None) };
        (keys.size, map, start, stored)
    } else {
        let whole = Segment { file_offset: 0, tar_offset: start, len: stored };
        let segments = if stored == 0 { Vec::new() } else { vec![whole] };
        return Ok(Some(FileContent { size_bytes: stored, segments }));
    };
    Ok(size.and_then(|size_bytes| segments(map, size_bytes, data_start, data_len)))
}

fn segments(map: SparseMap, size_bytes: u64, data_start: u64, data_len: u64) -> Option<FileContent> {
    let mut segments: Vec<Segment> = Vec::new();
    let (mut tar_offset, mut end) = (data_start, 0);
    for (file_offset, len) in map {
        if file_offset < end || file_offset > size_bytes {
            return None;
        }
        end = file_offset.checked_add(len)?;
        match segments.last_mut() {
            _ if len == 0 => {}
            Some(last) if last.file_offset + last.len == file_offset => last.len += len,
            _ => segments.push(Segment { file_offset, tar_offset, len }),
        }
        tar_offset = tar_offset.checked_add(len)?;
    }
    // The system's own bound.
    let fits = end <= size_bytes && i64::try_from(size_bytes).is_ok() && tar_offset - data_start == data_len;
    fits.then_some(FileContent { size_bytes, segments })
}

fn pairs(numbers: &[u64]) -> Option<SparseMap> {
    let (pairs, rest) = numbers.as_chunks::<2>();
    let accepted = rest.is_empty() && pairs.len() <= SEGMENTS_MAX;
    accepted.then(|| pairs.iter().map(|[offset, len]| (*offset, *len)).collect())
}

/// How many blocks of an old GNU sparse file's map come before the contents.
pub(super) fn skip_gnu_map(blocks: &mut BlockReader<'_>, start: u64) -> io::Result<Option<u64>> {
    for count in 1..=(SEGMENTS_MAX / 21) as u64 {
        let offset = start + (count - 1) * BLOCK_LEN as u64;
        let Some(block) = blocks.read(offset, BLOCK_LEN)? else { return Ok(None) };
        if block[GNU_PAIRS_LEN] == 0 {
            return Ok(Some(count));
        }
    }
    Ok(None)
}

/// The map of an old GNU sparse file, which may go on in blocks before the contents; and where the contents
/// begin.
fn gnu_map(
    blocks: &mut BlockReader<'_>,
    header: &Header,
    start: u64,
) -> io::Result<Option<(SparseMap, u64)>> {
    let mut map = Vec::new();
    let mut add = |pairs: &[u8]| {
        for pair in pairs.as_chunks::<GNU_PAIR_LEN>().0.iter().filter(|pair| pair[0] != 0) {
            let number = |field| number(field).and_then(|number| u64::try_from(number).ok());
            map.push((number(&pair[..12])?, number(&pair[12..])?));
        }
        Some(())
    };
    let mut well_formed = add(header.sparse_map()).is_some();
    let map_blocks = if header.sparse_goes_on() { skip_gnu_map(blocks, start)? } else { Some(0) };
    let Some(map_blocks) = map_blocks else { return Ok(None) };
    let mut position = start;
    for _ in 0..map_blocks {
        let Some(block) = blocks.read(position, BLOCK_LEN)? else { return Ok(None) };
        well_formed &= add(&block[..GNU_PAIRS_LEN]).is_some();
        position += BLOCK_LEN as u64;
    }
    Ok(well_formed.then_some((map, position)))
}

/// The map of a PAX 1.0 sparse file: decimal numbers, one a line, in whole blocks before the contents.
fn pax_map(blocks: &mut BlockReader<'_>, start: u64, stored: u64) -> io::Result<Option<(SparseMap, u64)>> {
    let (mut numbers, mut number, mut position) = (Vec::new(), None::<u64>, start);
    while position + BLOCK_LEN as u64 <= start + stored {
        let Some(block) = blocks.read(position, BLOCK_LEN)? else { return Ok(None) };
        position += BLOCK_LEN as u64;
        for byte in block {
            match (byte, number) {
                (b'0'..=b'9', before) => {
                    let digit = u64::from(byte - b'0');
                    number = before.unwrap_or(0).checked_mul(10).and_then(|value| value.checked_add(digit));
                    if number.is_none() {
                        return Ok(None);
                    }
                }
                (b'\n', Some(value)) => {
                    numbers.push(value);
                    number = None;
                }
                _ => return Ok(None),
            }
            let Some(count) = numbers.first() else { continue };
            let Some(count) = usize::try_from(*count).ok().filter(|count| *count <= SEGMENTS_MAX) else {
                return Ok(None);
            };
            if numbers.len() == 2 * count + 1 {
                return Ok(pairs(&numbers[1..]).map(|map| (map, position)));
            }
        }
    }
    Ok(None)
}
