use std::fs::File;
use std::io::{self, Read};
use std::ops::ControlFlow;

use sha2::{Digest as _, Sha256};

use super::BundleError;

/// How much is read at once, in bytes.
const CHUNK: usize = 256 << 10;

/// The largest window that a decoder is given memory for, as a power of two: 32 MiB. `zstd -19` needs 8 MiB.
pub(super) const WINDOW_LOG_MAX: u32 = 25;

/// A bundle's file as it is read: counts and hashes all of it, tells how far it is, and can be told to stop.
pub(super) struct Watched<'a> {
    file: File,
    hash: Sha256,
    read: u64,
    len: u64,
    cancelled: bool,
    progress: &'a mut dyn FnMut(u64, u64) -> ControlFlow<()>,
}

impl<'a> Watched<'a> {
    pub(super) fn new(
        file: File,
        progress: &'a mut dyn FnMut(u64, u64) -> ControlFlow<()>,
    ) -> Result<Self, BundleError> {
        let len = file.metadata().map_err(BundleError::Read)?.len();
        Ok(Self { file, hash: Sha256::new(), read: 0, len, cancelled: false, progress })
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled
    }

    /// Reads what is left, and answers the checksum of the whole in hex.
    pub(super) fn finish(mut self) -> Result<String, BundleError> {
        let mut buffer = vec![0; CHUNK];
        loop {
            match self.read(&mut buffer) {
                Ok(0) => return Ok(hex::encode(self.hash.finalize())),
                Ok(_) => {}
                Err(_) if self.cancelled => return Err(BundleError::Cancelled),
                Err(error) => return Err(BundleError::Read(error)),
            }
        }
    }
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancelled {
            return Err(io::Error::other("cancelled"));
        }
        let len = buffer.len().min(CHUNK);
        let read = self.file.read(&mut buffer[..len])?;
        self.hash.update(&buffer[..read]);
        self.read += read as u64;
        self.cancelled = (self.progress)(self.read, self.len.max(self.read)).is_break();
        Ok(read)
    }
}
