//! Inodes as they lie on disk.

use mkext4::csum;
use mkext4::spec::{INODE_SIZE, Inode, file_type};

use super::attributes::StoredAttributes;
use super::space::BLOCK_LEN;
use crate::file_tree::Node;

/// Length of the fields behind the first 128 bytes.
pub(super) const EXTRA_LEN: u16 = 32;

/// Sectors that blocks are counted in.
const SECTORS_PER_BLOCK: u64 = BLOCK_LEN / 512;

/// More links than this cannot be counted.
pub(super) const LINKS_MAX: u32 = mkext4::spec::LINK_MAX;

/// What an inode says besides what the tree's node does.
#[derive(Debug)]
pub(super) struct InodeContent {
    /// As in directories.
    pub(super) file_type: u8,
    pub(super) size_bytes: u64,
    /// Data, and the blocks of its map.
    pub(super) blocks: u64,
    pub(super) links: u32,
    pub(super) flags: u32,
    /// The root of the map of blocks, a short target or a device's number.
    pub(super) block: [u8; 60],
    pub(super) attributes: StoredAttributes,
}

impl InodeContent {
    pub(super) fn empty(file_type: u8, links: u32) -> Self {
        let attributes = StoredAttributes::default();
        Self { file_type, size_bytes: 0, blocks: 0, links, flags: 0, block: [0; 60], attributes }
    }
}

/// The 256 bytes of an inode.
pub(super) fn encode(
    node: &Node,
    content: InodeContent,
    number: u32,
    checksum_seed: u32,
) -> [u8; INODE_SIZE] {
    // What the fields can hold: 34 bits of seconds from 1901 on.
    let seconds = node.mtime_seconds.clamp(-(1 << 31), (1 << 34) - (1 << 31) - 1);
    let (time, time_extra) = Inode::encode_timestamp(seconds, node.mtime_nanoseconds);
    let too_many_links = content.file_type == file_type::DIR && content.links > LINKS_MAX;
    let xattr_blocks = u64::from(content.attributes.block > 0);
    let inode = Inode {
        mode: type_bits(content.file_type) | node.mode,
        uid: node.uid,
        gid: node.gid,
        size: content.size_bytes,
        atime: time,
        ctime: time,
        mtime: time,
        links_count: if too_many_links { 1 } else { content.links as u16 },
        blocks: (content.blocks + xattr_blocks) * SECTORS_PER_BLOCK,
        flags: content.flags,
        block: content.block,
        file_acl: content.attributes.block,
        extra_isize: EXTRA_LEN,
        ctime_extra: time_extra,
        mtime_extra: time_extra,
        atime_extra: time_extra,
        crtime: time,
        crtime_extra: time_extra,
        ibody: content.attributes.inline,
        ..Inode::default()
    };
    let mut bytes = [0; INODE_SIZE];
    inode.encode(&mut bytes);
    put_checksum(&mut bytes, number, checksum_seed);
    bytes
}

/// An inode that stands for nothing.
pub(super) fn reserved(number: u32, checksum_seed: u32) -> [u8; INODE_SIZE] {
    let mut bytes = [0; INODE_SIZE];
    put_checksum(&mut bytes, number, checksum_seed);
    bytes
}

/// The checksum's high half is among the fields that not every inode has.
fn put_checksum(bytes: &mut [u8; INODE_SIZE], number: u32, checksum_seed: u32) {
    let [low_0, low_1, high_0, high_1] = csum::inode(checksum_seed, number, 0, bytes).to_le_bytes();
    bytes[0x7C..0x7E].copy_from_slice(&[low_0, low_1]);
    if bytes[0x80..0x82] != [0, 0] {
        bytes[0x82..0x84].copy_from_slice(&[high_0, high_1]);
    }
}

fn type_bits(file_type: u8) -> u16 {
    match file_type {
        file_type::DIR => 0o040_000,
        file_type::SYMLINK => 0o120_000,
        file_type::CHR => 0o020_000,
        file_type::BLK => 0o060_000,
        file_type::FIFO => 0o010_000,
        _ => 0o100_000,
    }
}

/// A device's number in the form that is used for all, or in the older one where that does.
pub(super) fn device(major: u32, minor: u32) -> [u8; 60] {
    let mut block = [0; 60];
    if major < 256 && minor < 256 {
        block[..4].copy_from_slice(&(major << 8 | minor).to_le_bytes());
    } else {
        let number = minor & 0xFF | major << 8 | (minor & !0xFF) << 12;
        block[4..8].copy_from_slice(&number.to_le_bytes());
    }
    block
}
