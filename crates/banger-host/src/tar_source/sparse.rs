//! Sparse files: where the parts of them are that are there.

use std::io;

use banger_tar::sparse::{DecimalMap, Runs, SparseKeys, gnu_block, gnu_block_goes_on};
use banger_tar::{BLOCK_LEN, Header};

use super::blocks::BlockReader;
use super::{FileContent, Segment};

/// Longest map accepted, in segments: a bound on memory, far above what any real file has.
const SEGMENTS_MAX: usize = 1 << 20;

/// Where the contents are that lie from `start` on. None when the map is malformed or does not fit what is
/// stored.
pub(super) fn content(
    blocks: &mut BlockReader<'_>,
    header: &Header,
    keys: &SparseKeys,
    start: u64,
    stored: u64,
) -> io::Result<Option<FileContent>> {
    let (size, map, data_start, data_len) = if header.kind() == b'S' {
        let Some((map, data_start)) = gnu_map(blocks, header, start)? else { return Ok(None) };
        (header.sparse_size(), map, data_start, stored)
    } else if keys.version == (1, 0) {
        let Some((map, data_start)) = pax_map(blocks, start, stored)? else { return Ok(None) };
        (keys.size, map, data_start, stored - (data_start - start))
    } else if !matches!(keys.version, (0, 0 | 1)) {
        return Ok(None);
    } else if keys.numbers.is_some() {
        let Some(map) = keys.runs() else { return Ok(None) };
        (keys.size, map, start, stored)
    } else {
        let whole = Segment { file_offset: 0, tar_offset: start, len: stored };
        let segments = if stored == 0 { Vec::new() } else { vec![whole] };
        return Ok(Some(FileContent { size_bytes: stored, segments }));
    };
    Ok(size.and_then(|size_bytes| segments(map, size_bytes, data_start, data_len)))
}

fn segments(map: Runs, size_bytes: u64, data_start: u64, data_len: u64) -> Option<FileContent> {
    if map.len() > SEGMENTS_MAX {
        return None;
    }
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

/// How many blocks of an old GNU sparse file's map come before the contents.
pub(super) fn skip_gnu_map(blocks: &mut BlockReader<'_>, start: u64) -> io::Result<Option<u64>> {
    for count in 1..=(SEGMENTS_MAX / 21) as u64 {
        let offset = start + (count - 1) * BLOCK_LEN as u64;
        let Some(block) = blocks.read(offset, BLOCK_LEN)? else { return Ok(None) };
        if !gnu_block_goes_on(block) {
            return Ok(Some(count));
        }
    }
    Ok(None)
}

/// The map of an old GNU sparse file, which may go on in blocks before the contents; and where the contents
/// begin.
fn gnu_map(blocks: &mut BlockReader<'_>, header: &Header, start: u64) -> io::Result<Option<(Runs, u64)>> {
    let map_blocks = if header.sparse_goes_on() { skip_gnu_map(blocks, start)? } else { Some(0) };
    let (Some(map_blocks), Some(mut map)) = (map_blocks, header.sparse_runs()) else { return Ok(None) };
    let mut position = start;
    for _ in 0..map_blocks {
        let Some(block) = blocks.read(position, BLOCK_LEN)? else { return Ok(None) };
        let Some(runs) = gnu_block(block) else { return Ok(None) };
        map.extend(runs);
        position += BLOCK_LEN as u64;
    }
    Ok(Some((map, position)))
}

/// The map of a PAX 1.0 sparse file, in whole blocks before the contents; and where the contents begin.
fn pax_map(blocks: &mut BlockReader<'_>, start: u64, stored: u64) -> io::Result<Option<(Runs, u64)>> {
    let (mut map, mut position) = (DecimalMap::new(SEGMENTS_MAX), start);
    while position + BLOCK_LEN as u64 <= start + stored {
        let Some(block) = blocks.read(position, BLOCK_LEN)? else { return Ok(None) };
        position += BLOCK_LEN as u64;
        match map.block(block) {
            Some(None) => {}
            last => return Ok(last.flatten().map(|(runs, _)| (runs, position))),
        }
    }
    Ok(None)
}
