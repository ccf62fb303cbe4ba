//! An image being written: blocks handed out, and bytes put where they belong.

use std::fs::File;
use std::io;

use super::space::{Allocator, BLOCK_LEN, Geometry, Run};
use crate::sparse_file::SparseWriter;

/// How much is written at once.
const WRITE_LEN: usize = 1 << 20;
const INODES_WRITE_LEN: usize = 64 << 10;

/// Why something could not be put into an image.
#[derive(Debug)]
pub(super) enum Fault {
    /// The image could not be written.
    Write(io::Error),
    /// A layer could not be read.
    Read {
        layer: u16,
        source: io::Error,
    },
    /// The image's blocks are used up.
    Full,
    /// An ext4 filesystem cannot hold this.
    Unfit(&'static str),
    Cancelled,
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

pub(super) struct Disk<'a> {
    pub(super) geometry: &'a Geometry,
    space: Allocator,
    /// What all checksums begin with.
    pub(super) checksum_seed: u32,
    blocks: SparseWriter<'a>,
    inodes: SparseWriter<'a>,
}

impl<'a> Disk<'a> {
    pub(super) fn new(file: &'a File, geometry: &'a Geometry, uuid: &[u8; 16]) -> Self {
        Self {
            geometry,
            space: geometry.allocator(),
            checksum_seed: mkext4::csum::fs_seed(uuid),
            blocks: SparseWriter::new(file, WRITE_LEN),
            inodes: SparseWriter::new(file, INODES_WRITE_LEN),
        }
    }

    pub(super) fn take(&mut self, blocks: u64) -> Result<Vec<Run>, Fault> {
        self.space.take(blocks).ok_or(Fault::Full)
    }

    pub(super) fn take_one(&mut self) -> Result<u64, Fault> {
        self.space.take_one().ok_or(Fault::Full)
    }

    /// What is used of a group, so far.
    pub(super) fn used_in(&self, range: Run) -> impl Iterator<Item = Run> {
        self.space.used_in(range)
    }

    /// Writes whole blocks, or the last one in part: it is zeros from there on.
    pub(super) fn put(&mut self, block: u64, bytes: &[u8]) -> io::Result<()> {
        const ZEROS: [u8; BLOCK_LEN as usize] = [0; BLOCK_LEN as usize];
        self.blocks.write_at(block * BLOCK_LEN, bytes)?;
        let rest = bytes.len() % BLOCK_LEN as usize;
        if rest == 0 {
            return Ok(());
        }
        // Written as well: what follows in the next block then follows on.
        self.blocks.write_at(block * BLOCK_LEN + bytes.len() as u64, &ZEROS[rest..])
    }

    pub(super) fn put_inode(&mut self, number: u32, bytes: &[u8]) -> io::Result<()> {
        self.inodes.write_at(self.geometry.inode_offset(number), bytes)
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.blocks.flush()?;
        self.inodes.flush()
    }
}
