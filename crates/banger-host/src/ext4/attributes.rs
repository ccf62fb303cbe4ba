//! Extended attributes: as many as fit stand in the inode, the others in a block of their own.

use mkext4::csum;
use mkext4::spec::{INODE_SIZE, XATTR_MAGIC};

use super::disk::{Disk, Fault};
use super::inode::EXTRA_LEN;
use super::space::BLOCK_LEN;
use crate::xattr::StoredXattr;

/// What of an inode is not fields.
const INLINE_LEN: usize = INODE_SIZE - 128 - EXTRA_LEN as usize;
const MAGIC_LEN: usize = 4;
const BLOCK_HEADER_LEN: usize = 32;
const ENTRY_LEN: usize = 16;

/// What marks the last entry.
const END_LEN: usize = 4;

/// An inode's attributes once they are written.
#[derive(Debug, Default)]
pub(super) struct StoredAttributes {
    /// For the inode's end; empty when there are none.
    pub(super) inline: Vec<u8>,
    /// Or 0.
    pub(super) block: u64,
}

pub(super) fn store(disk: &mut Disk<'_>, mut xattrs: Vec<StoredXattr>) -> Result<StoredAttributes, Fault> {
    // The order that the kernel keeps them in.
    xattrs.sort_by(|a, b| (a.namespace, a.name.len(), &a.name).cmp(&(b.namespace, b.name.len(), &b.name)));
    let (mut inside, mut outside) = (Vec::new(), Vec::new());
    let (mut inside_len, mut outside_len) = (MAGIC_LEN + END_LEN, BLOCK_HEADER_LEN + END_LEN);
    for xattr in &xattrs {
        let len = stored_len(xattr);
        if inside_len + len <= INLINE_LEN {
            inside_len += len;
            inside.push(xattr);
        } else {
            outside_len += len;
            outside.push(xattr);
        }
    }
    if outside_len > BLOCK_LEN as usize {
        return Err(Fault::Unfit("its extended attributes are larger than 4 KiB"));
    }
    let mut stored = StoredAttributes::default();
    if !inside.is_empty() {
        stored.inline = vec![0; INLINE_LEN];
        stored.inline[..MAGIC_LEN].copy_from_slice(&XATTR_MAGIC.to_le_bytes());
        // Values are found from the first entry on.
        encode(&mut stored.inline[MAGIC_LEN..], 0, &inside);
    }
    if !outside.is_empty() {
        stored.block = disk.take_one()?;
        let bytes = block(&outside, disk.checksum_seed, stored.block);
        disk.put(stored.block, &bytes)?;
    }
    Ok(stored)
}

fn stored_len(xattr: &StoredXattr) -> usize {
    ENTRY_LEN + xattr.name.len().next_multiple_of(4) + xattr.value.len().next_multiple_of(4)
}

fn block(xattrs: &[&StoredXattr], checksum_seed: u32, number: u64) -> Vec<u8> {
    let mut bytes = vec![0; BLOCK_LEN as usize];
    let mut put = |at: usize, value: u32| bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    put(0, XATTR_MAGIC);
    // One inode refers to it, and it is one block.
    put(4, 1);
    put(8, 1);
    let hashes = xattrs.iter().map(|xattr| csum::xattr_entry_hash(&xattr.name, &xattr.value));
    put(12, csum::xattr_block_hash(hashes));
    // Values are found from the block's beginning on.
    encode(&mut bytes[BLOCK_HEADER_LEN..], BLOCK_HEADER_LEN, xattrs);
    let checksum = csum::xattr_block(checksum_seed, number, &bytes);
    bytes[16..20].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Entries from the beginning on, values from the end back. Only in blocks have entries a hash.
fn encode(area: &mut [u8], area_offset: usize, xattrs: &[&StoredXattr]) {
    let (mut start, mut end) = (0, area.len());
    for StoredXattr { namespace, name, value } in xattrs {
        end -= value.len().next_multiple_of(4);
        area[end..end + value.len()].copy_from_slice(value);
        let hash = if area_offset > 0 { csum::xattr_entry_hash(name, value) } else { 0 };
        let value_offset = ((area_offset + end) as u16).to_le_bytes();
        let entry = &mut area[start..];
        entry[0] = name.len() as u8;
        entry[1] = *namespace;
        entry[2..4].copy_from_slice(&value_offset);
        entry[8..12].copy_from_slice(&(value.len() as u32).to_le_bytes());
        entry[12..16].copy_from_slice(&hash.to_le_bytes());
        entry[ENTRY_LEN..ENTRY_LEN + name.len()].copy_from_slice(name);
        start += ENTRY_LEN + name.len().next_multiple_of(4);
    }
}
