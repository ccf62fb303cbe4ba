//! Reads of a file in small pieces that lie close together.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// Headers of small files are about as far apart.
const WINDOW_LEN: usize = 32 << 10;

/// The part of a file that was read last.
pub(super) struct BlockReader<'a> {
    file: &'a File,
    file_len: u64,
    window: Vec<u8>,
    start: u64,
}

impl<'a> BlockReader<'a> {
    pub(super) fn new(file: &'a File) -> io::Result<Self> {
        Ok(Self { file, file_len: file.metadata()?.len(), window: Vec::new(), start: 0 })
    }

    /// The file's length.
    pub(super) fn len(&self) -> u64 {
        self.file_len
    }

    /// `len` bytes, which the caller has bounded; none when the file ends before.
    pub(super) fn read(&mut self, offset: u64, len: usize) -> io::Result<Option<&[u8]>> {
        let Some(left) = self.file_len.checked_sub(offset).filter(|left| *left >= len as u64) else {
            return Ok(None);
        };
        let end = self.start + self.window.len() as u64;
        if offset < self.start || offset + len as u64 > end {
            let window_len = (WINDOW_LEN.max(len) as u64).min(left) as usize;
            self.window.clear();
            self.window.resize(window_len, 0);
            self.start = offset;
            self.file.read_exact_at(&mut self.window, offset)?;
        }
        let from = (offset - self.start) as usize;
        Ok(Some(&self.window[from..from + len]))
    }
}
