//! Writing files with holes: blocks of zeros are left out, so that they take no space.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// A block of a filesystem, in bytes.
pub(crate) const BLOCK_LEN: usize = 4096;

static ZEROS: [u8; BLOCK_LEN] = [0; BLOCK_LEN];

fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(BLOCK_LEN).all(|chunk| *chunk == ZEROS[..chunk.len()])
}

/// Writes `bytes` at `offset` of a file that holds nothing there yet, without the blocks that hold only
/// zeros. The file's length is the caller's business.
pub(crate) fn write_sparse(file: &File, offset: u64, bytes: &[u8]) -> io::Result<()> {
    let mut position = 0;
    // Where what is to be written begins.
    let mut start = 0;
    while position < bytes.len() {
        // Up to the file's next block, so that holes are whole blocks.
        let into_block = ((offset + position as u64) % BLOCK_LEN as u64) as usize;
        let end = bytes.len().min(position + BLOCK_LEN - into_block);
        if is_zero(&bytes[position..end]) {
            if start < position {
                file.write_all_at(&bytes[start..position], offset + start as u64)?;
            }
            start = end;
        }
        position = end;
    }
    if start < position {
        file.write_all_at(&bytes[start..position], offset + start as u64)?;
    }
    Ok(())
}

/// Collects writes that follow one another, and leaves out zeros.
pub(crate) struct SparseWriter<'a> {
    file: &'a File,
    buffer: Vec<u8>,
    /// Where in the file the buffer begins.
    start: u64,
    max_len: usize,
}

impl<'a> SparseWriter<'a> {
    pub(crate) fn new(file: &'a File, max_len: usize) -> Self {
        Self { file, buffer: Vec::with_capacity(max_len), start: 0, max_len }
    }

    /// Nothing may be written twice.
    pub(crate) fn write_at(&mut self, offset: u64, mut bytes: &[u8]) -> io::Result<()> {
        if offset != self.start + self.buffer.len() as u64 {
            self.flush()?;
            self.start = offset;
        }
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(self.max_len - self.buffer.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() == self.max_len {
                self.flush()?;
            }
        }
        Ok(())
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        write_sparse(self.file, self.start, &self.buffer)?;
        self.start += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn zeros_take_no_space() {
        let file = tempfile::tempfile().unwrap();
        let mut writer = SparseWriter::new(&file, 64 << 10);
        let mut bytes = vec![0; 4 << 20];
        bytes[3 << 20] = 1;
        writer.write_at(100, &bytes).unwrap();
        writer.flush().unwrap();
        assert!(file.metadata().unwrap().blocks() * 512 <= 64 << 10);
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            parts in prop::collection::vec((0_u64..9000, prop::collection::vec(0_u8..2, 0..40), 1_usize..400), 0..12),
            max_len in 1_usize..20_000,
        ) {
            let file = tempfile::tempfile().unwrap();
            let mut expected = Vec::new();
            let mut writer = SparseWriter::new(&file, max_len);
            for (gap, pattern, repeat) in parts {
                expected.resize(expected.len() + gap as usize, 0);
                let bytes = pattern.repeat(repeat);
                writer.write_at(expected.len() as u64, &bytes).unwrap();
                expected.extend_from_slice(&bytes);
            }
            writer.flush().unwrap();
            file.set_len(expected.len() as u64).unwrap();
            let mut actual = vec![7; expected.len()];
            file.read_exact_at(&mut actual, 0).unwrap();
            prop_assert!(actual == expected);
        }
    }
}
