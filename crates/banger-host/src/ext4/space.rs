//! Which block of an image is for what: the groups, their tables, and what is handed out to files.

use mkext4::spec::{BLOCK_SIZE, BLOCKS_PER_GROUP, INODE_SIZE};

pub(super) const BLOCK_LEN: u64 = BLOCK_SIZE as u64;
const GROUP_BLOCKS: u64 = BLOCKS_PER_GROUP as u64;
const INODES_PER_BLOCK: u32 = (BLOCK_SIZE / INODE_SIZE) as u32;
const DESCRIPTOR_LEN: u64 = 32;

/// How many groups have their tables together.
pub(super) const LOG_GROUPS_PER_FLEX: u8 = 4;

/// A last group with less room than this besides its tables is not worth having.
const GROUP_BLOCKS_MIN: u64 = 50;

/// A run of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) start: u64,
    pub(super) len: u64,
}

impl Run {
    pub(super) fn end(self) -> u64 {
        self.start + self.len
    }
}

/// The blocks of an image in ascending order, without what is reserved.
#[derive(Clone, Debug)]
pub(super) struct Allocator {
    cursor: u64,
    end: u64,
    /// Sorted, without overlap.
    reserved: Vec<Run>,
    next_reserved: usize,
}

impl Allocator {
    pub(super) fn new(start: u64, end: u64, mut reserved: Vec<Run>) -> Self {
        reserved.sort_unstable_by_key(|run| run.start);
        Self { cursor: start, end, reserved, next_reserved: 0 }
    }

    /// The first block from the cursor on that is free, and where the next one that is not is.
    fn gap(&mut self) -> Run {
        while let Some(run) = self.reserved.get(self.next_reserved).filter(|run| run.start <= self.cursor) {
            self.cursor = self.cursor.max(run.end());
            self.next_reserved += 1;
        }
        let stop = self.reserved.get(self.next_reserved).map_or(self.end, |run| run.start.min(self.end));
        Run { start: self.cursor, len: stop.saturating_sub(self.cursor) }
    }

    /// In as few runs as there are; none when not so many are left.
    pub(super) fn take(&mut self, mut blocks: u64) -> Option<Vec<Run>> {
        let mut runs = Vec::new();
        while blocks > 0 {
            let gap = self.gap();
            let len = gap.len.min(blocks);
            if len == 0 {
                return None;
            }
            runs.push(Run { start: gap.start, len });
            self.cursor += len;
            blocks -= len;
        }
        Some(runs)
    }

    pub(super) fn take_one(&mut self) -> Option<u64> {
        self.take(1).and_then(|runs| runs.first().map(|run| run.start))
    }

    /// In one run, leaving out blocks where that needs it.
    fn take_together(&mut self, blocks: u64) -> Option<u64> {
        loop {
            let gap = self.gap();
            if gap.len >= blocks {
                self.cursor += blocks;
                return Some(gap.start);
            }
            self.cursor = gap.end();
            if self.cursor >= self.end {
                return None;
            }
        }
    }

    /// Which blocks of `range` are taken or reserved.
    pub(super) fn used_in(&self, range: Run) -> impl Iterator<Item = Run> {
        let taken = Run { start: 0, len: self.cursor };
        let first = self.reserved.partition_point(|run| run.end() <= range.start);
        let near = self.reserved[first..].iter().copied().take_while(move |run| run.start < range.end());
        std::iter::once(taken).chain(near).filter_map(move |run| {
            let start = run.start.max(range.start);
            let end = run.end().min(range.end());
            (start < end).then(|| Run { start, len: end - start })
        })
    }
}

/// Where a group has its tables.
#[derive(Clone, Copy, Debug)]
pub(super) struct GroupTables {
    pub(super) block_bitmap: u64,
    pub(super) inode_bitmap: u64,
    pub(super) inode_table: u64,
}

/// How an image is divided.
#[derive(Clone, Debug)]
pub(super) struct Geometry {
    pub(super) blocks: u64,
    pub(super) groups: u32,
    pub(super) inodes_per_group: u32,
    /// Of the table of groups, which follows every superblock.
    pub(super) descriptor_blocks: u64,
    pub(super) tables: Vec<GroupTables>,
}

impl Geometry {
    /// None when so many bytes and inodes do not go together. A remainder too small to be of use is left out.
    pub(super) fn new(size_bytes: u64, inodes: u64) -> Option<Self> {
        let blocks = size_bytes / BLOCK_LEN;
        u32::try_from(blocks).ok()?;
        let whole = Self::divided(blocks, inodes)?;
        let tail = blocks % GROUP_BLOCKS;
        let tail_min = whole.table_blocks() + 3 + whole.descriptor_blocks + GROUP_BLOCKS_MIN;
        let geometry = if tail > 0 && tail < tail_min && blocks > tail {
            Self::divided(blocks - tail, inodes)?
        } else {
            whole
        };
        geometry.with_tables()
    }

    fn divided(blocks: u64, inodes: u64) -> Option<Self> {
        let groups = blocks.div_ceil(GROUP_BLOCKS);
        if groups == 0 {
            return None;
        }
        let per_group = inodes.div_ceil(groups).max(1).next_multiple_of(u64::from(INODES_PER_BLOCK));
        if per_group > GROUP_BLOCKS || u32::try_from(groups * per_group).is_err() {
            return None;
        }
        let descriptor_blocks = (groups * DESCRIPTOR_LEN).div_ceil(BLOCK_LEN);
        let (groups, inodes_per_group) = (groups as u32, per_group as u32);
        Some(Self { blocks, groups, inodes_per_group, descriptor_blocks, tables: Vec::new() })
    }

    fn with_tables(mut self) -> Option<Self> {
        let fixed = self.superblocks();
        for leader in (0..self.groups).step_by(1 << LOG_GROUPS_PER_FLEX) {
            let count = (self.groups - leader).min(1 << LOG_GROUPS_PER_FLEX);
            let mut space = Allocator::new(self.group(leader).start, self.blocks, fixed.clone());
            let mut take =
                |blocks| (0..count).map(|_| space.take_together(blocks)).collect::<Option<Vec<_>>>();
            let (block_bitmaps, inode_bitmaps, inode_tables) =
                (take(1)?, take(1)?, take(self.table_blocks())?);
            let tables = block_bitmaps.into_iter().zip(inode_bitmaps).zip(inode_tables);
            self.tables.extend(tables.map(|((block_bitmap, inode_bitmap), inode_table)| GroupTables {
                block_bitmap,
                inode_bitmap,
                inode_table,
            }));
        }
        Some(self)
    }

    /// What is left for files.
    pub(super) fn allocator(&self) -> Allocator {
        let mut reserved = self.superblocks();
        for tables in &self.tables {
            reserved.push(Run { start: tables.block_bitmap, len: 1 });
            reserved.push(Run { start: tables.inode_bitmap, len: 1 });
            reserved.push(Run { start: tables.inode_table, len: self.table_blocks() });
        }
        Allocator::new(0, self.blocks, reserved)
    }

    fn superblocks(&self) -> Vec<Run> {
        let len = 1 + self.descriptor_blocks;
        self.superblock_groups().map(|group| Run { start: self.group(group).start, len }).collect()
    }

    /// The groups that begin with a superblock: the first, and copies in those numbered by powers of 3, 5 and
    /// 7.
    pub(super) fn superblock_groups(&self) -> impl Iterator<Item = u32> {
        let is_power = |number: u32, base: u32| {
            let power = std::iter::successors(Some(1_u32), |power| power.checked_mul(base));
            power.take_while(|power| *power <= number).any(|power| power == number)
        };
        (0..self.groups)
            .filter(move |group| *group == 0 || [3, 5, 7].iter().any(|base| is_power(*group, *base)))
    }

    pub(super) fn group(&self, group: u32) -> Run {
        let start = u64::from(group) * GROUP_BLOCKS;
        Run { start, len: GROUP_BLOCKS.min(self.blocks - start) }
    }

    pub(super) fn inodes(&self) -> u32 {
        self.groups * self.inodes_per_group
    }

    /// Of a group's inode table.
    fn table_blocks(&self) -> u64 {
        u64::from(self.inodes_per_group / INODES_PER_BLOCK)
    }

    /// Where an inode is in the image, in bytes.
    pub(super) fn inode_offset(&self, inode: u32) -> u64 {
        let (group, index) = ((inode - 1) / self.inodes_per_group, (inode - 1) % self.inodes_per_group);
        self.tables[group as usize].inode_table * BLOCK_LEN + u64::from(index) * INODE_SIZE as u64
    }
}

/// As large as mke2fs makes it.
pub(super) fn journal_blocks(blocks: u64) -> u64 {
    const STEPS: [(u64, u64); 7] = [
        (32_768, 1024),
        (262_144, 4096),
        (524_288, 8192),
        (4_194_304, 16_384),
        (8_388_608, 32_768),
        (16_777_216, 65_536),
        (33_554_432, 131_072),
    ];
    STEPS.iter().find(|(limit, _)| blocks < *limit).map_or(262_144, |(_, journal)| *journal)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn nothing_lies_on_anything_else(size_mib in 8_u64..80_000, inodes in 1_u64..400_000) {
            let Some(geometry) = Geometry::new(size_mib << 20, inodes) else {
                prop_assert!(inodes > size_mib << 8);
                return Ok(());
            };
            prop_assert!(geometry.blocks <= size_mib << 8 && geometry.blocks + GROUP_BLOCKS > size_mib << 8);
            prop_assert!(u64::from(geometry.inodes()) >= inodes);
            let space = geometry.allocator();
            prop_assert!(space.reserved.windows(2).all(|pair| pair[0].end() <= pair[1].start));
            prop_assert!(space.reserved.iter().all(|run| run.end() <= geometry.blocks));
            let reserved: u64 = space.reserved.iter().map(|run| run.len).sum();
            let mut rest = space.clone();
            let runs = rest.take(geometry.blocks - reserved).unwrap();
            prop_assert!(rest.take_one().is_none());
            let mut all: Vec<Run> = [&runs[..], &space.reserved].concat();
            all.sort_by_key(|run| run.start);
            prop_assert!(all.windows(2).all(|pair| pair[0].end() == pair[1].start));
        }
    }

    #[test]
    fn a_remainder_that_holds_nothing_is_left_out() {
        let geometry = Geometry::new((2 << 30) + (1 << 20), 131_072).unwrap();
        assert_eq!((geometry.groups, geometry.blocks), (16, 16 * GROUP_BLOCKS));
        assert_eq!(Geometry::new((2 << 30) + (32 << 20), 131_072).unwrap().groups, 17);
        assert!(Geometry::new(1 << 20, 1 << 20).is_none() && Geometry::new(0, 1).is_none());
        assert!(Geometry::new(17 << 40, 1).is_none());
    }
}
