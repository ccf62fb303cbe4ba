//! Where a file's blocks are, as the tree that its inode holds the root of.

use mkext4::csum;
use mkext4::spec::{Extent, ExtentHeader, ExtentIdx};

use super::disk::{Disk, Fault};
use super::space::{BLOCK_LEN, Run};

/// As many blocks as one extent can cover.
const EXTENT_BLOCKS_MAX: u64 = 32_768;

/// Length of the root, and how many entries it has.
const ROOT_LEN: usize = 60;
const ROOT_ENTRIES: usize = 4;

/// How many entries a block of the tree has.
const BLOCK_ENTRIES: usize =
    (BLOCK_LEN as usize - ExtentHeader::LEN - CHECKSUM_LEN) / ExtentHeader::ENTRY_LEN;
const CHECKSUM_LEN: usize = 4;

/// The blocks of one file.
#[derive(Debug, Default)]
pub(super) struct BlockMap {
    extents: Vec<Extent>,
    blocks: u64,
}

impl BlockMap {
    /// Adds blocks that begin with the file's block `logical`.
    pub(super) fn add(&mut self, mut logical: u64, runs: &[Run]) -> Result<(), Fault> {
        for run in runs {
            let mut rest = *run;
            while rest.len > 0 {
                let len = rest.len.min(EXTENT_BLOCKS_MAX);
                let unfit = |_| Fault::Unfit("it is larger than 16 TiB");
                let first = u32::try_from(logical).map_err(unfit)?;
                self.extents.push(Extent { logical: first, raw_len: len as u16, start: rest.start });
                logical += len;
                rest = Run { start: rest.start + len, len: rest.len - len };
            }
            self.blocks += run.len;
        }
        Ok(())
    }

    /// Writes the tree's blocks, if it needs any. Answers with its root, and how many blocks there are with
    /// the tree's own.
    pub(super) fn store(self, disk: &mut Disk<'_>, inode: u32) -> Result<([u8; ROOT_LEN], u64), Fault> {
        let mut blocks = self.blocks;
        // Of the current level: the first block covered, and the entry.
        let mut level: Vec<(u32, [u8; ExtentHeader::ENTRY_LEN])> = Vec::with_capacity(self.extents.len());
        for extent in &self.extents {
            let mut entry = [0; ExtentHeader::ENTRY_LEN];
            extent.encode(&mut entry);
            level.push((extent.logical, entry));
        }
        let mut depth = 0;
        let seed = csum::inode_seed(disk.checksum_seed, inode, 0);
        while level.len() > ROOT_ENTRIES {
            let mut above = Vec::with_capacity(level.len().div_ceil(BLOCK_ENTRIES));
            for part in level.chunks(BLOCK_ENTRIES) {
                let mut bytes = [0; BLOCK_LEN as usize];
                encode_node(&mut bytes, part, BLOCK_ENTRIES, depth);
                let checksum = csum::extent_block(seed, &bytes);
                bytes[BLOCK_LEN as usize - CHECKSUM_LEN..].copy_from_slice(&checksum.to_le_bytes());
                let block = disk.take_one()?;
                disk.put(block, &bytes)?;
                blocks += 1;
                let mut entry = [0; ExtentHeader::ENTRY_LEN];
                ExtentIdx { logical: part[0].0, leaf: block }.encode(&mut entry);
                above.push((part[0].0, entry));
            }
            level = above;
            depth += 1;
        }
        let mut root = [0; ROOT_LEN];
        encode_node(&mut root, &level, ROOT_ENTRIES, depth);
        Ok((root, blocks))
    }

    /// How many blocks [`Self::store`] takes for the tree at most.
    pub(super) fn tree_blocks_max(extents: u64) -> u64 {
        if extents <= ROOT_ENTRIES as u64 { 0 } else { extents / (BLOCK_ENTRIES as u64 - 1) + 3 }
    }
}

fn encode_node(
    bytes: &mut [u8],
    entries: &[(u32, [u8; ExtentHeader::ENTRY_LEN])],
    capacity: usize,
    depth: u16,
) {
    let header = ExtentHeader { entries: entries.len() as u16, max: capacity as u16, depth, generation: 0 };
    header.encode(bytes);
    let places = bytes[ExtentHeader::LEN..].chunks_exact_mut(ExtentHeader::ENTRY_LEN);
    for (place, (_, entry)) in places.zip(entries) {
        place.copy_from_slice(entry);
    }
}
