//! Files with holes: which parts of them are there, as file systems say it and as tar files do.

use std::io;
use std::sync::Arc;

use banger_tar::Header;
use banger_tar::pax::put_record;
use banger_tar::sparse::{DecimalMap, Runs, SparseKeys, decimal_map, gnu_block, gnu_block_goes_on};

use super::content::SeekTo;

/// Longest map that is believed, in runs: a bound on memory, far above what any real file has.
const RUNS_MAX: usize = 1 << 20;
/// Longest map that is sent; in a file with more runs, shorter holes count as data.
const RUNS_SENT: usize = 1 << 16;
/// Holes shorter than this count as data: each one costs a line in a map and a system call.
const HOLE_MIN_LEN: u64 = 32 << 10;

/// A part of a file that holds data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub offset: u64,
    pub len: u64,
}

impl Run {
    /// Where it ends.
    pub fn end(self) -> u64 {
        self.offset.saturating_add(self.len)
    }
}

/// How much data `runs` hold.
pub fn stored(runs: &[Run]) -> u64 {
    runs.iter().map(|run| run.len).fold(0, u64::saturating_add)
}

/// Where the map of a sparse file is.
pub(super) enum MapPlace {
    /// It is known already.
    Known(Runs),
    /// In the blocks that come next.
    Ahead(MapReader),
    /// Where only a newer format knows.
    Unknown,
}

/// What a PAX header says of a file: its real size, and where its map is. None when it contradicts itself.
pub(super) fn read_keys(keys: &SparseKeys) -> Option<(u64, MapPlace)> {
    let place = match keys.version {
        (1, 0) => MapPlace::Ahead(MapReader::Decimal(DecimalMap::new(RUNS_MAX))),
        (0, 0 | 1) => MapPlace::Known(keys.runs()?),
        _ => return Some((0, MapPlace::Unknown)),
    };
    Some((keys.size?, place))
}

/// What the header of an old GNU sparse file says. None when it makes no sense.
pub(super) fn read_gnu(header: &Header) -> Option<(u64, MapPlace)> {
    if !header.is_gnu() {
        return None;
    }
    let (size, map) = (header.sparse_size()?, header.sparse_runs()?);
    let goes_on = header.sparse_goes_on();
    Some((size, if goes_on { MapPlace::Ahead(MapReader::Gnu(map)) } else { MapPlace::Known(map) }))
}

/// Reads a map that lies in blocks before the contents.
#[derive(Debug)]
pub(super) enum MapReader {
    Decimal(DecimalMap),
    /// What was found so far.
    Gnu(Runs),
}

impl MapReader {
    /// Are its blocks counted in the entry's size?
    pub(super) fn is_counted(&self) -> bool {
        matches!(self, Self::Decimal(_))
    }

    /// Takes the next block; the map, when that was the last one. None when it is no map.
    pub(super) fn block(&mut self, block: &[u8]) -> Option<Option<Runs>> {
        match self {
            Self::Gnu(map) => {
                map.extend(gnu_block(block)?);
                let accepted = map.len() <= RUNS_MAX;
                accepted.then(|| (!gnu_block_goes_on(block)).then(|| std::mem::take(map)))
            }
            Self::Decimal(map) => map.block(block).map(|last| last.map(|(map, _)| map)),
        }
    }
}

/// The map, put in its plainest form: in order, without overlap, nothing empty. None when it is none, or does
/// not fit a file of `size` bytes of which `stored` are there.
pub(super) fn checked(map: Runs, size: u64, stored: u64) -> Option<Arc<[Run]>> {
    let mut runs: Vec<Run> = Vec::new();
    let (mut end, mut sum) = (0_u64, 0_u64);
    for (offset, len) in map {
        if offset < end {
            return None;
        }
        end = offset.checked_add(len)?;
        sum = sum.checked_add(len)?;
        match runs.last_mut() {
            _ if len == 0 => {}
            Some(last) if last.end() == offset => last.len += len,
            _ => runs.push(Run { offset, len }),
        }
    }
    // The system's own bound.
    (end <= size && i64::try_from(size).is_ok() && sum == stored).then(|| runs.into())
}

/// The records of a PAX header for a sparse file.
pub(super) fn records(name: &[u8], size: u64) -> Vec<u8> {
    let mut records = Vec::new();
    put_record(&mut records, b"GNU.sparse.major", b"1");
    put_record(&mut records, b"GNU.sparse.minor", b"0");
    put_record(&mut records, b"GNU.sparse.name", name);
    put_record(&mut records, b"GNU.sparse.realsize", size.to_string().as_bytes());
    records
}

/// The map in whole blocks, as it comes before the contents.
pub(super) fn map(runs: &[Run], size: u64) -> Vec<u8> {
    decimal_map(runs.iter().map(|run| (run.offset, run.len)).collect(), size)
}

/// Where the data of a file of `size` bytes lies. Takes no time for holes.
pub(super) fn find(
    size: u64,
    mut seek: impl FnMut(SeekTo) -> io::Result<Option<u64>>,
) -> io::Result<Vec<Run>> {
    let (mut runs, mut hole_min_len): (Vec<Run>, _) = (Vec::new(), HOLE_MIN_LEN);
    let mut position = 0;
    while position < size {
        let Some(start) = seek(SeekTo::Data(position))?.filter(|start| *start < size) else { break };
        let end = seek(SeekTo::Hole(start))?.unwrap_or(size).min(size);
        // Cannot be, but must not loop either.
        if start < position || end <= start {
            return Err(io::Error::other("the file system does not know where its data ends"));
        }
        add(&mut runs, Run { offset: start, len: end - start }, hole_min_len);
        while runs.len() >= RUNS_SENT {
            hole_min_len *= 2;
            let all = std::mem::take(&mut runs);
            all.into_iter().for_each(|run| add(&mut runs, run, hole_min_len));
        }
        position = end;
    }
    Ok(runs)
}

fn add(runs: &mut Vec<Run>, run: Run, hole_min_len: u64) {
    match runs.last_mut() {
        Some(last) if run.offset - last.end() < hole_min_len => last.len = run.end() - last.offset,
        _ => runs.push(run),
    }
}

#[cfg(test)]
#[path = "sparse_tests.rs"]
mod tests;
