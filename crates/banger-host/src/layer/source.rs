//! A blob's bytes on their way in: all of a file, or a file in a tar file. Counted, and hashed where their
//! digest is to be checked.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::FileExt;

use sha2::{Digest, Sha256};

use crate::tar_source::FileContent;

const READ_LEN: usize = 256 << 10;

pub(super) struct Source(BufReader<Counted>);

impl Source {
    pub(super) fn new(file: File, content: Option<FileContent>, is_hashed: bool) -> Self {
        let hash = is_hashed.then(Sha256::new);
        Self(BufReader::with_capacity(READ_LEN, Counted { file, content, position: 0, hash }))
    }

    pub(super) fn len(&self) -> io::Result<u64> {
        let Counted { file, content, .. } = self.0.get_ref();
        content.as_ref().map_or_else(|| Ok(file.metadata()?.len()), |content| Ok(content.size_bytes))
    }

    /// The first bytes, which stay to be read.
    pub(super) fn start(&mut self) -> io::Result<&[u8]> {
        self.0.fill_buf()
    }

    pub(super) fn consumed_bytes(&self) -> u64 {
        self.0.get_ref().position
    }

    /// Of all that was read.
    pub(super) fn digest(&self) -> Option<Vec<u8>> {
        Some(self.0.get_ref().hash.clone()?.finalize().to_vec())
    }
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl BufRead for Source {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.0.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.0.consume(amount);
    }
}

struct Counted {
    file: File,
    content: Option<FileContent>,
    position: u64,
    hash: Option<Sha256>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = match &self.content {
            None => self.file.read_at(buffer, self.position)?,
            Some(content) => read_at(&self.file, content, self.position, buffer)?,
        };
        if let Some(hash) = &mut self.hash {
            hash.update(&buffer[..len]);
        }
        self.position += len as u64;
        Ok(len)
    }
}

/// Reads bytes of a file in the tar file `tar`; none at its end.
pub(crate) fn read_at(
    tar: &File,
    content: &FileContent,
    position: u64,
    buffer: &mut [u8],
) -> io::Result<usize> {
    let next = content.segments.partition_point(|segment| segment.file_offset + segment.len <= position);
    let segment = content.segments.get(next);
    let (stop, tar_offset) = match segment {
        Some(segment) if segment.file_offset <= position => {
            let skipped = position - segment.file_offset;
            (segment.file_offset + segment.len, Some(segment.tar_offset + skipped))
        }
        Some(segment) => (segment.file_offset, None),
        None => (content.size_bytes, None),
    };
    let left = usize::try_from(stop.saturating_sub(position)).unwrap_or(usize::MAX);
    let len = left.min(buffer.len());
    let buffer = &mut buffer[..len];
    let Some(tar_offset) = tar_offset else {
        buffer.fill(0);
        return Ok(len);
    };
    match tar.read_at(buffer, tar_offset)? {
        // The tar file is shorter now than it was.
        0 if len > 0 => Err(io::ErrorKind::UnexpectedEof.into()),
        len => Ok(len),
    }
}
