//! Sparse files: the forms in which tar archives say which parts of them are there.

use crate::BLOCK_LEN;
use crate::header::number;
use crate::pax::decimal;

/// Offsets and lengths, in bytes, of the parts of a file that hold data. They are as the archive has them:
/// whoever reads them finds out whether they make sense.
pub type Runs = Vec<(u64, u64)>;

/// Length of one pair of numbers in an old GNU map, and of the pairs in one of the map's own blocks.
const GNU_PAIR_LEN: usize = 24;
const GNU_PAIRS_LEN: usize = 21 * GNU_PAIR_LEN;

/// Longest form of a run in a decimal map: two numbers of twenty digits, each with the end of its line.
const DECIMAL_RUN_LEN: usize = 42;

/// What a PAX header says about a sparse file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SparseKeys {
    /// Is there any such key?
    pub given: bool,
    /// The file's real name; the entry's own one is for programs that do not know sparse files.
    pub name: Option<Vec<u8>>,
    /// How many bytes the file has once unpacked.
    pub size: Option<u64>,
    /// The format's version, major and minor.
    pub version: (u64, u64),
    /// The numbers of the map, of formats 0.0 and 0.1.
    pub numbers: Option<Vec<u64>>,
}

impl SparseKeys {
    /// `key` is what follows `GNU.sparse.`. None when the value is malformed.
    pub fn set(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        self.given = true;
        match key {
            b"name" => self.name = Some(value.to_vec()),
            b"realsize" | b"size" => self.size = Some(decimal(value)?),
            b"major" => self.version.0 = decimal(value)?,
            b"minor" => self.version.1 = decimal(value)?,
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

    /// The map of formats 0.0 and 0.1. None when there is none, or half a pair in it.
    pub fn runs(&self) -> Option<Runs> {
        pairs(self.numbers.as_ref()?)
    }
}

fn pairs(numbers: &[u64]) -> Option<Runs> {
    let (pairs, rest) = numbers.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[offset, len]| (*offset, *len)).collect())
}

pub(crate) fn gnu_runs(pairs: &[u8]) -> Option<Runs> {
    let natural = |field| number(field).and_then(|number| u64::try_from(number).ok());
    let pairs = pairs.as_chunks::<GNU_PAIR_LEN>().0.iter().filter(|pair| pair[0] != 0);
    pairs.map(|pair| Some((natural(&pair[..12])?, natural(&pair[12..])?))).collect()
}

/// The runs in one block of an old GNU map. None when they are malformed.
///
/// # Panics
///
/// When it is no whole block.
pub fn gnu_block(block: &[u8]) -> Option<Runs> {
    gnu_runs(&block[..GNU_PAIRS_LEN])
}

/// Does another block follow this one of an old GNU map?
///
/// # Panics
///
/// When it is no whole block.
pub fn gnu_block_goes_on(block: &[u8]) -> bool {
    block[GNU_PAIRS_LEN] != 0
}

/// Reads the map of format 1.0, which lies in blocks before the contents: decimal numbers, one a line, the
/// count of runs first.
#[derive(Debug)]
pub struct DecimalMap {
    runs_max: usize,
    numbers: Vec<u64>,
    /// What the digits come to that were read last.
    number: Option<u64>,
    blocks: usize,
}

impl DecimalMap {
    /// A map with more than `runs_max` runs, or many more digits than they can have, counts as malformed.
    pub fn new(runs_max: usize) -> Self {
        Self { runs_max, numbers: Vec::new(), number: None, blocks: 0 }
    }

    /// Takes the next block. When that was the last one, the map, and what follows it in the block. The outer
    /// none when it is no map.
    #[allow(clippy::option_option, reason = "a map that goes on is not a malformed one")]
    pub fn block<'a>(&mut self, block: &'a [u8]) -> Option<Option<(Runs, &'a [u8])>> {
        self.blocks += 1;
        for (at, byte) in block.iter().enumerate() {
            match (byte, self.number) {
                (b'0'..=b'9', before) => {
                    let digit = u64::from(byte - b'0');
                    self.number = Some(before.unwrap_or(0).checked_mul(10)?.checked_add(digit)?);
                    continue;
                }
                (b'\n', Some(value)) => self.numbers.push(value),
                _ => return None,
            }
            self.number = None;
            let (count, numbers) = self.numbers.split_first()?;
            let count = usize::try_from(*count).ok().filter(|count| *count <= self.runs_max)?;
            if numbers.len() == 2 * count {
                return Some(Some((pairs(numbers)?, &block[at + 1..])));
            }
        }
        let blocks_max = self.runs_max * DECIMAL_RUN_LEN / BLOCK_LEN + 1;
        (self.blocks < blocks_max).then_some(None)
    }
}

/// The map of format 1.0 for a file of `size` bytes, in whole blocks, as it comes before the contents.
pub fn decimal_map(mut runs: Runs, size: u64) -> Vec<u8> {
    // Readers learn from an empty run at the end that the file goes on to there.
    if runs.last().is_none_or(|(offset, len)| offset.saturating_add(*len) < size) {
        runs.push((size, 0));
    }
    let mut map = format!("{}\n", runs.len());
    for (offset, len) in runs {
        map.push_str(&format!("{offset}\n{len}\n"));
    }
    let mut map = map.into_bytes();
    map.resize(map.len().next_multiple_of(BLOCK_LEN), 0);
    map
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(map: &[u8], runs_max: usize) -> Option<Option<(Runs, &[u8])>> {
        let mut reader = DecimalMap::new(runs_max);
        let mut blocks = map.chunks(BLOCK_LEN);
        loop {
            match (blocks.next().map(|block| reader.block(block)), blocks.len()) {
                (Some(Some(None)), 1..) => {}
                (last, _) => return last.flatten(),
            }
        }
    }

    proptest! {
        #[test]
        fn a_decimal_map_comes_back(runs in proptest::collection::vec((0_u64..1 << 40, 1_u64..1 << 40), 0..80)) {
            let size = runs.last().map_or(0, |(offset, len)| offset + len);
            let map = decimal_map(runs.clone(), size);
            let (found, rest) = read(&map, 80).flatten().unwrap();
            prop_assert!(rest.iter().all(|byte| *byte == 0));
            prop_assert_eq!(found, if runs.is_empty() { vec![(0, 0)] } else { runs.clone() });
            let with_tail = decimal_map(runs.clone(), u64::MAX);
            let (found, _) = read(&with_tail, 81).flatten().unwrap();
            prop_assert_eq!(found, [runs, vec![(u64::MAX, 0)]].concat());
        }
    }

    #[test]
    fn a_decimal_map_has_bounds() {
        let map = decimal_map(vec![(0, 1); 30], 1);
        assert!(read(&map, 30).flatten().is_some());
        assert_eq!(read(&map, 29), None);
        // Cut off, and nothing but the digits of one number.
        assert_eq!(read(&decimal_map(vec![(1 << 40, 1 << 40); 80], 0)[..BLOCK_LEN], 100), Some(None));
        assert_eq!(read(&[b'0'; 40 * BLOCK_LEN], 80), None);
    }
}
