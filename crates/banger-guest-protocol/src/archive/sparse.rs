//! Files with holes: which parts of them are there, as file systems say it and as tar files do.

use std::io;
use std::sync::Arc;

use super::BLOCK_LEN;
use super::content::SeekTo;
use super::pax::{number, put_record};

/// Longest map that is believed, in runs: a bound on memory, far above what any real file has.
const RUNS_MAX: usize = 1 << 20;
/// Longest map that is sent; in a file with more runs, shorter holes count as data.
const RUNS_SENT: usize = 1 << 16;
/// Holes shorter than this count as data: each one costs a line in a map and a system call.
const HOLE_MIN_LEN: u64 = 32 << 10;
/// Most blocks that the decimal map of a file may take: two numbers of at most twenty digits for each run.
const MAP_BLOCKS_MAX: usize = RUNS_MAX * 42 / BLOCK_LEN + 1;

/// Length of one pair of numbers in an old GNU map, and of the pairs in one of the map's own blocks.
const GNU_PAIR_LEN: usize = 24;
const GNU_PAIRS_LEN: usize = 21 * GNU_PAIR_LEN;

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

/// What a PAX header says about a sparse file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SparseKeys {
    /// The file's real name; the entry's own one is for programs that do not know sparse files.
    pub(super) name: Option<Vec<u8>>,
    /// How long the file is once unpacked.
    size: Option<u64>,
    /// The numbers of the map, of formats 0.0 and 0.1.
    numbers: Option<Vec<u64>>,
    major: u64,
    minor: u64,
    pub(super) given: bool,
}

/// Where the map of a sparse file is.
pub(super) enum MapPlace {
    /// It is known already.
    Known(Vec<Run>),
    /// In the blocks that come next.
    Ahead(MapReader),
    /// Where only a newer format knows.
    Unknown,
}

impl SparseKeys {
    /// None when the value makes no sense. `key` is what follows `GNU.sparse.`.
    pub(super) fn set(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        self.given = true;
        match key {
            b"name" => self.name = Some(value.to_vec()),
            b"realsize" | b"size" => self.size = Some(number(value)?),
            b"major" => self.major = number(value)?,
            b"minor" => self.minor = number(value)?,
            b"map" if value.is_empty() => self.numbers = Some(Vec::new()),
            b"map" => {
                let numbers = value.split(|byte| *byte == b',').map(number);
                self.numbers = Some(numbers.collect::<Option<_>>()?);
            }
            b"offset" | b"numbytes" => {
                let numbers = self.numbers.get_or_insert_default();
                // They come in pairs.
                if numbers.len().is_multiple_of(2) != (key == b"offset") {
                    return None;
                }
                numbers.push(number(value)?);
            }
            _ => {}
        }
        Some(())
    }

    /// The file's real size, and where its map is. None when they contradict themselves.
    pub(super) fn read(&self) -> Option<(u64, MapPlace)> {
        let place = match (self.major, self.minor) {
            (1, 0) => MapPlace::Ahead(MapReader::decimal()),
            (0, 0 | 1) => {
                let (pairs, rest) = self.numbers.as_ref()?.as_chunks::<2>();
                let runs = pairs.iter().map(|[offset, len]| Run { offset: *offset, len: *len });
                rest.is_empty().then(|| MapPlace::Known(runs.collect()))?
            }
            _ => return Some((0, MapPlace::Unknown)),
        };
        Some((self.size?, place))
    }
}

/// What the header of an old GNU sparse file says. None when it makes no sense.
pub(super) fn read_gnu(header: &tar::GnuHeader) -> Option<(u64, MapPlace)> {
    let size = header.real_size().ok()?;
    let mut map = Vec::new();
    // The same bytes as in a block of the map's own.
    let pairs: Vec<u8> =
        header.sparse.iter().flat_map(|pair| [pair.offset, pair.numbytes].concat()).collect();
    add_gnu_pairs(&mut map, &pairs)?;
    let place =
        if header.is_extended() { MapPlace::Ahead(MapReader::Gnu(map)) } else { MapPlace::Known(map) };
    Some((size, place))
}

fn add_gnu_pairs(map: &mut Vec<Run>, pairs: &[u8]) -> Option<()> {
    for pair in pairs.as_chunks::<GNU_PAIR_LEN>().0.iter().filter(|pair| pair[0] != 0) {
        map.push(Run { offset: gnu_number(&pair[..12])?, len: gnu_number(&pair[12..])? });
    }
    (map.len() <= RUNS_MAX).then_some(())
}

/// A number in a header's field: octal digits, or the bytes of a large one.
fn gnu_number(field: &[u8]) -> Option<u64> {
    if field[0] == 0x80 {
        let (high, low) = field.split_at(field.len() - 8);
        let plain = high[1..].iter().all(|byte| *byte == 0);
        return plain.then(|| low.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)));
    }
    let end = field.iter().position(|byte| matches!(byte, 0 | b' ')).unwrap_or(field.len());
    u64::from_str_radix(std::str::from_utf8(&field[..end]).ok()?, 8).ok()
}

/// Reads a map that lies in blocks before the contents.
#[derive(Debug)]
pub(super) enum MapReader {
    /// PAX 1.0: decimal numbers, one a line, the count of runs first.
    Decimal { numbers: Vec<u64>, number: Option<u64>, blocks: usize },
    /// What was found so far.
    Gnu(Vec<Run>),
}

impl MapReader {
    fn decimal() -> Self {
        Self::Decimal { numbers: Vec::new(), number: None, blocks: 0 }
    }

    /// Are its blocks counted in the entry's size?
    pub(super) fn is_counted(&self) -> bool {
        matches!(self, Self::Decimal { .. })
    }

    /// Takes the next block; the map, when that was the last one. None when it is no map.
    pub(super) fn block(&mut self, block: &[u8]) -> Option<Option<Vec<Run>>> {
        match self {
            Self::Gnu(map) => {
                add_gnu_pairs(map, &block[..GNU_PAIRS_LEN])?;
                let goes_on = block[GNU_PAIRS_LEN] != 0;
                Some((!goes_on).then(|| std::mem::take(map)))
            }
            Self::Decimal { numbers, number, blocks } => {
                *blocks += 1;
                for byte in block {
                    match (byte, *number) {
                        (b'0'..=b'9', before) => {
                            let digit = u64::from(byte - b'0');
                            *number = Some(before.unwrap_or(0).checked_mul(10)?.checked_add(digit)?);
                        }
                        (b'\n', Some(value)) => {
                            numbers.push(value);
                            *number = None;
                        }
                        _ => return None,
                    }
                    let Some(count) = numbers.first() else { continue };
                    let count = usize::try_from(*count).ok().filter(|count| *count <= RUNS_MAX)?;
                    if numbers.len() == 2 * count + 1 {
                        let pairs = numbers[1..].as_chunks::<2>().0.iter();
                        return Some(Some(
                            pairs.map(|[offset, len]| Run { offset: *offset, len: *len }).collect(),
                        ));
                    }
                }
                (*blocks < MAP_BLOCKS_MAX).then_some(None)
            }
        }
    }
}

/// The map, put in its plainest form: in order, without overlap, nothing empty. None when it is none, or does
/// not fit a file of `size` bytes of which `stored` are there.
pub(super) fn checked(map: Vec<Run>, size: u64, stored: u64) -> Option<Arc<[Run]>> {
    let mut runs: Vec<Run> = Vec::new();
    let (mut end, mut sum) = (0_u64, 0_u64);
    for run in map {
        if run.offset < end {
            return None;
        }
        end = run.offset.checked_add(run.len)?;
        sum = sum.checked_add(run.len)?;
        match runs.last_mut() {
            _ if run.len == 0 => {}
            Some(last) if last.end() == run.offset => last.len += run.len,
            _ => runs.push(run),
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
    // Readers learn from an empty run at the end that the file goes on to there.
    let end = runs.last().is_none_or(|last| last.end() < size).then_some(Run { offset: size, len: 0 });
    let mut map = format!("{}\n", runs.len() + usize::from(end.is_some()));
    for run in runs.iter().copied().chain(end) {
        map.push_str(&format!("{}\n{}\n", run.offset, run.len));
    }
    let mut map = map.into_bytes();
    map.resize(map.len().next_multiple_of(BLOCK_LEN), 0);
    map
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
