//! Directories: names in one block, or in many with an index of their hashes.

use mkext4::csum;
use mkext4::dirhash::{HashSeed, Signedness, half_md4};
use mkext4::spec::dirent::rec_len_for;
use mkext4::spec::htree::{NODE_COUNT_OFFSET, ROOT_COUNT_OFFSET, node_limit, root_limit};
use mkext4::spec::{BLOCK_SIZE, file_type};

use super::disk::{Disk, Fault};
use super::space::Run;

/// What every block of names ends with: an entry that holds the checksum.
const TAIL_LEN: usize = 12;
const NAMES_LEN: usize = BLOCK_SIZE - TAIL_LEN;

/// `.` and `..`.
const DOTS_LEN: usize = 24;

/// How long the longest entry is.
const ENTRY_LEN_MAX: usize = 264;

/// A name in a directory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name<'a> {
    pub(super) name: &'a [u8],
    pub(super) inode: u32,
    pub(super) file_type: u8,
}

/// Who a directory is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) inode: u32,
    pub(super) parent: u32,
    /// What it has at least; the rest is empty.
    pub(super) blocks_min: u64,
}

/// What a directory became.
#[derive(Debug)]
pub(super) struct StoredDirectory {
    pub(super) runs: Vec<Run>,
    pub(super) blocks: u64,
    pub(super) is_indexed: bool,
}

/// How many blocks a directory takes at most whose entries come to so many bytes.
pub(super) fn blocks_max(entries_len: u64) -> u64 {
    if entries_len <= (NAMES_LEN - DOTS_LEN) as u64 {
        return 1;
    }
    let leaves = entries_len / (NAMES_LEN - ENTRY_LEN_MAX) as u64 + 1;
    leaves + leaves / (u64::from(node_limit(BLOCK_SIZE)) - 1) + 2
}

pub(super) fn entry_len(name: &[u8]) -> u64 {
    rec_len_for(name.len()) as u64
}

pub(super) fn store(
    disk: &mut Disk<'_>,
    place: Place,
    names: &[Name<'_>],
    hash_seed: &HashSeed,
) -> Result<StoredDirectory, Fault> {
    let len: u64 = names.iter().map(|name| entry_len(name.name)).sum();
    if blocks_max(len) > 1 {
        return store_indexed(disk, place, names, hash_seed);
    }
    let seed = csum::inode_seed(disk.checksum_seed, place.inode, 0);
    let runs = disk.take(place.blocks_min.max(1))?;
    let dots = [
        Name { name: b".", inode: place.inode, file_type: file_type::DIR },
        Name { name: b"..", inode: place.parent, file_type: file_type::DIR },
    ];
    let mut first = NameBlock::new();
    dots.iter().chain(names).for_each(|name| first.add(name));
    disk.put(runs[0].start, first.finish(seed))?;
    let blocks: u64 = runs.iter().map(|run| run.len).sum();
    for index in 1..blocks {
        disk.put(nth_block(&runs, index), NameBlock::new().finish(seed))?;
    }
    Ok(StoredDirectory { runs, blocks, is_indexed: false })
}

/// Blocks of names one behind the other.
struct NameBlock {
    bytes: [u8; BLOCK_SIZE],
    /// Where the last entry begins, and where it ends.
    last: usize,
    end: usize,
}

impl NameBlock {
    fn new() -> Self {
        Self { bytes: [0; BLOCK_SIZE], last: 0, end: 0 }
    }

    /// The caller knows that there is room.
    fn add(&mut self, Name { name, inode, file_type }: &Name<'_>) {
        let len = rec_len_for(name.len());
        let entry = &mut self.bytes[self.end..self.end + len];
        entry[..4].copy_from_slice(&inode.to_le_bytes());
        entry[4..6].copy_from_slice(&(len as u16).to_le_bytes());
        entry[6] = name.len() as u8;
        entry[7] = *file_type;
        entry[8..8 + name.len()].copy_from_slice(name);
        self.last = self.end;
        self.end += len;
    }

    /// The last entry takes what is left. One that names nothing does when there is none.
    fn finish(&mut self, seed: u32) -> &[u8; BLOCK_SIZE] {
        let len = (NAMES_LEN - self.last) as u16;
        self.bytes[self.last + 4..self.last + 6].copy_from_slice(&len.to_le_bytes());
        self.bytes[NAMES_LEN + 4] = TAIL_LEN as u8;
        self.bytes[NAMES_LEN + 7] = 0xDE;
        let checksum = csum::dirent_block(seed, &self.bytes);
        self.bytes[NAMES_LEN + 8..].copy_from_slice(&checksum.to_le_bytes());
        &self.bytes
    }
}

fn nth_block(runs: &[Run], mut index: u64) -> u64 {
    for run in runs {
        if index < run.len {
            return run.start + index;
        }
        index -= run.len;
    }
    unreachable!("a directory's runs have all of its blocks")
}

/// A name's place in the order of the index: its hash, what breaks ties, and which name it is.
type Hashed = (u32, u32, u32);

/// Which hashes a block has: from this one on. The lowest bit says that the block before has some of the
/// same.
type IndexEntry = (u32, u32);

/// The index's root is block 0, the names follow, then the index's other blocks.
fn store_indexed(
    disk: &mut Disk<'_>,
    place: Place,
    names: &[Name<'_>],
    hash_seed: &HashSeed,
) -> Result<StoredDirectory, Fault> {
    let seed = csum::inode_seed(disk.checksum_seed, place.inode, 0);
    let mut hashed: Vec<Hashed> = Vec::with_capacity(names.len());
    for (number, name) in names.iter().enumerate() {
        let (hash, minor) = half_md4(hash_seed, Signedness::Signed, name.name);
        hashed.push((hash, minor, number as u32));
    }
    hashed.sort_unstable();
    let leaves = leaves(&hashed, names);
    let (root_limit, node_limit) = (usize::from(root_limit(BLOCK_SIZE)), usize::from(node_limit(BLOCK_SIZE)));
    let nodes = if leaves.len() <= root_limit { 0 } else { leaves.len().div_ceil(node_limit) };
    if nodes > root_limit {
        return Err(Fault::Unfit("it has too many names"));
    }
    let blocks = (1 + leaves.len() + nodes) as u64;
    let runs = disk.take(blocks)?;
    let mut index: Vec<IndexEntry> = Vec::with_capacity(leaves.len());
    for (number, start) in leaves.iter().enumerate() {
        let end = leaves.get(number + 1).copied().unwrap_or(hashed.len());
        let hash = hashed[*start].0;
        let goes_on = *start > 0 && hashed[start - 1].0 == hash;
        index.push((hash | u32::from(goes_on), number as u32 + 1));
        let mut block = NameBlock::new();
        hashed[*start..end].iter().for_each(|(.., name)| block.add(&names[*name as usize]));
        disk.put(nth_block(&runs, number as u64 + 1), block.finish(seed))?;
    }
    let root_index = if nodes == 0 {
        index
    } else {
        let mut root_index = Vec::with_capacity(nodes);
        for (part, number) in index.chunks(node_limit).zip(1 + leaves.len() as u32..) {
            let mut bytes = [0; BLOCK_SIZE];
            // To those who know no index, the block is one entry without a name.
            bytes[4..6].copy_from_slice(&(BLOCK_SIZE as u16).to_le_bytes());
            encode_index(&mut bytes, NODE_COUNT_OFFSET, node_limit, part, seed);
            disk.put(nth_block(&runs, u64::from(number)), &bytes)?;
            root_index.push((part[0].0, number));
        }
        root_index
    };
    disk.put(runs[0].start, &index_root(place, &root_index, u8::from(nodes > 0), seed))?;
    Ok(StoredDirectory { runs, blocks, is_indexed: true })
}

/// Where in the order of hashes every block of names begins.
fn leaves(hashed: &[Hashed], names: &[Name<'_>]) -> Vec<usize> {
    let (mut leaves, mut used) = (Vec::new(), NAMES_LEN);
    for (position, (.., name)) in hashed.iter().enumerate() {
        let len = rec_len_for(names[*name as usize].name.len());
        if used + len > NAMES_LEN {
            leaves.push(position);
            used = 0;
        }
        used += len;
    }
    leaves
}

fn index_root(place: Place, index: &[IndexEntry], levels: u8, seed: u32) -> [u8; BLOCK_SIZE] {
    const HALF_MD4: u8 = 1;
    const INFO_LEN: u8 = 8;
    let mut dots = NameBlock::new();
    dots.add(&Name { name: b".", inode: place.inode, file_type: file_type::DIR });
    dots.add(&Name { name: b"..", inode: place.parent, file_type: file_type::DIR });
    let mut bytes = dots.bytes;
    // To those who know no index, the second name takes the rest of the block.
    bytes[0x10..0x12].copy_from_slice(&((BLOCK_SIZE - 12) as u16).to_le_bytes());
    bytes[0x1C..0x1F].copy_from_slice(&[HALF_MD4, INFO_LEN, levels]);
    encode_index(&mut bytes, ROOT_COUNT_OFFSET, usize::from(root_limit(BLOCK_SIZE)), index, seed);
    bytes
}

/// The first entry has no hash: its place holds how many entries there can be and are.
fn encode_index(bytes: &mut [u8; BLOCK_SIZE], offset: usize, limit: usize, index: &[IndexEntry], seed: u32) {
    let (count, limit) = (index.len() as u16, limit as u16);
    for (entry, (hash, block)) in bytes[offset..].chunks_exact_mut(8).zip(index) {
        entry[..4].copy_from_slice(&hash.to_le_bytes());
        entry[4..].copy_from_slice(&block.to_le_bytes());
    }
    bytes[offset..offset + 2].copy_from_slice(&limit.to_le_bytes());
    bytes[offset + 2..offset + 4].copy_from_slice(&count.to_le_bytes());
    let checksum = csum::dx_block(seed, bytes, offset, count, limit);
    let tail = offset + usize::from(limit) * 8;
    bytes[tail + 4..tail + 8].copy_from_slice(&checksum.to_le_bytes());
}

/// The same for all directories of an image.
pub(super) fn hash_seed(uuid: &[u8; 16]) -> HashSeed {
    mkext4::dirhash::seed_from_uuid(uuid)
}
