//! What describes the filesystem as a whole: superblocks, groups, bitmaps, the journal.

use mkext4::csum;
use mkext4::spec::{
    BLOCK_SIZE, BLOCKS_PER_GROUP, FIRST_INO, GroupDesc, INODE_SIZE, JOURNAL_INO, JournalSuperblock,
    Superblock, bg_flags, compat, file_type, iflags, incompat, ro_compat,
};

use super::disk::{Disk, Fault};
use super::extents::BlockMap;
use super::inode::{self, EXTRA_LEN, InodeContent};
use super::space::{BLOCK_LEN, Geometry, LOG_GROUPS_PER_FLEX};
use super::{Ext4Options, directory};
use crate::file_tree::Node;

/// Times of what no archive describes. Not the time of the build, so that the same archive gives the same
/// image; and not that of the newest file, which may lie in the future, where e2fsck takes it for an error.
pub(super) const EPOCH: u32 = 0;

/// Inodes in use: all from 1 on, directories before everything else (but for the root).
#[derive(Clone, Copy, Debug)]
pub(super) struct InodeCounts {
    pub(super) last: u32,
    /// The last that is a directory; the first is the first that is not reserved.
    pub(super) last_directory: u32,
}

/// What is reserved, and the journal. Answers with the journal's map for the superblock.
pub(super) fn store_reserved(disk: &mut Disk<'_>, journal_blocks: u64) -> Result<[u8; 60], Fault> {
    let runs = disk.take(journal_blocks)?;
    disk.put(runs[0].start, &journal_superblock(journal_blocks))?;
    let mut map = BlockMap::default();
    map.add(0, &runs)?;
    let (block, blocks) = map.store(disk, JOURNAL_INO)?;
    let content = InodeContent {
        size_bytes: journal_blocks * BLOCK_LEN,
        blocks,
        flags: iflags::EXTENTS,
        block,
        ..InodeContent::empty(file_type::REG, 1)
    };
    let journal = inode::encode(&Node::plain(0o600), content, JOURNAL_INO, disk.checksum_seed);
    for number in 1..FIRST_INO {
        // The root is written with the other directories.
        if number == mkext4::spec::ROOT_INO {
            continue;
        }
        let reserved = inode::reserved(number, disk.checksum_seed);
        disk.put_inode(number, if number == JOURNAL_INO { &journal } else { &reserved })?;
    }
    Ok(block)
}

fn journal_superblock(journal_blocks: u64) -> [u8; BLOCK_SIZE] {
    const VERSION_2: u32 = 4;
    let journal = JournalSuperblock {
        blocktype: VERSION_2,
        blocksize: BLOCK_SIZE as u32,
        maxlen: journal_blocks as u32,
        first: 1,
        sequence: 1,
        start: 0,
        errno: 0,
        feature_compat: 0,
        feature_incompat: 0,
        feature_ro_compat: 0,
        uuid: [0; 16],
        nr_users: 1,
        dynsuper: 0,
        max_transaction: 0,
        max_trans_data: 0,
        checksum_type: 0,
        num_fc_blocks: 0,
        head: 0,
        checksum: 0,
    };
    let mut bytes = [0; BLOCK_SIZE];
    journal.encode(&mut bytes);
    bytes
}

/// What can only be said at the end.
pub(super) fn store_groups(
    disk: &mut Disk<'_>,
    options: &Ext4Options,
    counts: InodeCounts,
    journal_map: &[u8; 60],
    journal_blocks: u64,
) -> Result<(), Fault> {
    let geometry = disk.geometry;
    let mut descriptors = vec![0; (geometry.descriptor_blocks * BLOCK_LEN) as usize];
    let mut free_blocks = 0;
    for (group, place) in (0..geometry.groups).zip(descriptors.chunks_exact_mut(32)) {
        let descriptor = store_bitmaps(disk, group, counts)?;
        free_blocks += u64::from(descriptor.free_blocks_count);
        descriptor.encode32(place);
    }
    let mut superblock = superblock(geometry, options, counts, free_blocks);
    for (word, bytes) in superblock.jnl_blocks.iter_mut().zip(journal_map.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    let journal_bytes = journal_blocks * BLOCK_LEN;
    superblock.jnl_blocks[15] = (journal_bytes >> 32) as u32;
    superblock.jnl_blocks[16] = journal_bytes as u32;
    for group in geometry.superblock_groups() {
        superblock.block_group_nr = group as u16;
        superblock.checksum = 0;
        let mut bytes = [0; Superblock::LEN];
        superblock.encode(&mut bytes);
        superblock.checksum = csum::superblock(&bytes);
        superblock.encode(&mut bytes);
        // The first one leaves room for a boot loader.
        let mut block = [0; BLOCK_SIZE];
        let start = if group == 0 { 1024 } else { 0 };
        block[start..start + bytes.len()].copy_from_slice(&bytes);
        let first = geometry.group(group).start;
        disk.put(first, &block)?;
        disk.put(first + 1, &descriptors)?;
    }
    Ok(())
}

fn store_bitmaps(disk: &mut Disk<'_>, group: u32, counts: InodeCounts) -> Result<GroupDesc, Fault> {
    let geometry = disk.geometry;
    let (range, tables) = (geometry.group(group), geometry.tables[group as usize]);
    let mut blocks = [0; BLOCK_SIZE];
    for run in disk.used_in(range) {
        set_bits(&mut blocks, (run.start - range.start) as usize, (run.end() - range.start) as usize);
    }
    let used: u32 = blocks.iter().map(|byte| byte.count_ones()).sum();
    set_bits(&mut blocks, range.len as usize, BLOCK_SIZE * 8);
    let per_group = geometry.inodes_per_group;
    let used_inodes = counts.last.saturating_sub(group * per_group).min(per_group);
    let mut inodes = [0; BLOCK_SIZE];
    set_bits(&mut inodes, 0, used_inodes as usize);
    set_bits(&mut inodes, per_group as usize, BLOCK_SIZE * 8);
    let is_unused = used_inodes == 0;
    disk.put(tables.block_bitmap, &blocks)?;
    // Of a group without inodes it is not even read.
    if !is_unused {
        disk.put(tables.inode_bitmap, &inodes)?;
    }
    let seed = disk.checksum_seed;
    let inode_checksum = if is_unused { 0 } else { csum::inode_bitmap(seed, &inodes, per_group) };
    let mut descriptor = GroupDesc {
        block_bitmap: tables.block_bitmap,
        inode_bitmap: tables.inode_bitmap,
        inode_table: tables.inode_table,
        free_blocks_count: range.len as u32 - used,
        free_inodes_count: per_group - used_inodes,
        used_dirs_count: directories_in(group, per_group, counts),
        flags: bg_flags::INODE_ZEROED | if is_unused { bg_flags::INODE_UNINIT } else { 0 },
        block_bitmap_csum: u32::from(csum::block_bitmap(seed, &blocks)),
        inode_bitmap_csum: u32::from(inode_checksum),
        itable_unused: per_group - used_inodes,
        ..GroupDesc::default()
    };
    let mut bytes = [0; 32];
    descriptor.encode32(&mut bytes);
    descriptor.checksum = csum::group_desc(seed, group, &bytes);
    Ok(descriptor)
}

fn directories_in(group: u32, per_group: u32, counts: InodeCounts) -> u32 {
    let (first, end) = (group * per_group + 1, (group + 1) * per_group + 1);
    let others = (counts.last_directory + 1).min(end).saturating_sub(FIRST_INO.max(first));
    others + u32::from((first..end).contains(&mkext4::spec::ROOT_INO))
}

fn set_bits(bitmap: &mut [u8], start: usize, end: usize) {
    let (whole_start, whole_end) = (start.next_multiple_of(8).min(end), end - end % 8);
    if whole_start < whole_end {
        bitmap[whole_start / 8..whole_end / 8].fill(0xFF);
    }
    for bit in (start..whole_start).chain(whole_end.max(whole_start)..end) {
        bitmap[bit / 8] |= 1 << (bit % 8);
    }
}

fn superblock(
    geometry: &Geometry,
    options: &Ext4Options,
    counts: InodeCounts,
    free_blocks: u64,
) -> Superblock {
    const LOG_BLOCK_LEN: u32 = 2;
    const CLEAN: u16 = 1;
    const CONTINUE_ON_ERRORS: u16 = 1;
    const HALF_MD4: u8 = 1;
    const SIGNED_HASH: u32 = 1;
    const CRC32C: u8 = 1;
    const XATTRS_AND_ACCESS_LISTS: u32 = 0x0C;
    const NEVER: u16 = 0xFFFF;
    let mut volume_name = [0; 16];
    let label_len = options.label.len().min(volume_name.len());
    volume_name[..label_len].copy_from_slice(&options.label.as_bytes()[..label_len]);
    Superblock {
        inodes_count: geometry.inodes(),
        blocks_count: geometry.blocks,
        r_blocks_count: 0,
        free_blocks_count: free_blocks,
        free_inodes_count: geometry.inodes() - counts.last,
        first_data_block: 0,
        log_block_size: LOG_BLOCK_LEN,
        log_cluster_size: LOG_BLOCK_LEN,
        blocks_per_group: BLOCKS_PER_GROUP,
        clusters_per_group: BLOCKS_PER_GROUP,
        inodes_per_group: geometry.inodes_per_group,
        mtime: 0,
        wtime: EPOCH,
        mnt_count: 0,
        max_mnt_count: NEVER,
        state: CLEAN,
        errors: CONTINUE_ON_ERRORS,
        minor_rev_level: 0,
        lastcheck: EPOCH,
        checkinterval: 0,
        creator_os: 0,
        rev_level: 1,
        def_resuid: 0,
        def_resgid: 0,
        first_ino: FIRST_INO,
        inode_size: INODE_SIZE as u16,
        block_group_nr: 0,
        feature_compat: compat::WRITER,
        feature_incompat: incompat::WRITER,
        feature_ro_compat: ro_compat::WRITER,
        uuid: options.uuid,
        volume_name,
        last_mounted: [0; 64],
        reserved_gdt_blocks: 0,
        journal_uuid: [0; 16],
        journal_inum: JOURNAL_INO,
        journal_dev: 0,
        last_orphan: 0,
        hash_seed: directory::hash_seed(&options.uuid),
        def_hash_version: HALF_MD4,
        // The journal's map follows.
        jnl_backup_type: 1,
        desc_size: 0,
        default_mount_opts: XATTRS_AND_ACCESS_LISTS,
        first_meta_bg: 0,
        mkfs_time: EPOCH,
        jnl_blocks: [0; 17],
        min_extra_isize: EXTRA_LEN,
        want_extra_isize: EXTRA_LEN,
        flags: SIGNED_HASH,
        log_groups_per_flex: LOG_GROUPS_PER_FLEX,
        checksum_type: CRC32C,
        kbytes_written: 0,
        // The kernel counts them itself.
        overhead_clusters: 0,
        lpf_ino: 0,
        checksum_seed: 0,
        checksum: 0,
    }
}
