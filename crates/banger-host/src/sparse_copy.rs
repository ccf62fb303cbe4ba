//! Copies of files that keep their holes, and make new ones where there are only zeros.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use crate::sparse_file::write_sparse;

const CHUNK_LEN: usize = 1 << 20;

/// A piece of a file's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    Data(&'a [u8]),
    /// So many zeros, in a hole.
    Zeros(u64),
}

impl Piece<'_> {
    /// How many bytes it stands for.
    pub fn len(&self) -> u64 {
        match self {
            Self::Data(bytes) => bytes.len() as u64,
            Self::Zeros(len) => *len,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Hands over the first `len` bytes of a file in order, holes in one piece. It may ask to stop; the answer
/// tells whether it did.
///
/// # Errors
///
/// When the file cannot be read, or is shorter.
pub fn read_sparse<E: From<io::Error>>(
    file: &File,
    len: u64,
    mut on_piece: impl FnMut(u64, Piece<'_>) -> Result<ControlFlow<()>, E>,
) -> Result<ControlFlow<()>, E> {
    // What lies behind the end looks like a hole.
    if file.metadata()?.len() < len {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    let mut buffer = vec![0; CHUNK_LEN];
    let mut offset = 0;
    while offset < len {
        let data = next_data(file, offset)?.unwrap_or(len).min(len);
        if data > offset {
            if on_piece(offset, Piece::Zeros(data - offset))?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            offset = data;
            continue;
        }
        let end = next_hole(file, offset)?.min(len);
        while offset < end {
            let piece = &mut buffer[..usize::try_from(end - offset).unwrap_or(CHUNK_LEN).min(CHUNK_LEN)];
            file.read_exact_at(piece, offset)?;
            if on_piece(offset, Piece::Data(piece))?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            offset += piece.len() as u64;
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// Writes a piece of content to `offset` of a file that holds nothing there yet, and leaves out blocks of
/// zeros. The file's length is the caller's.
///
/// # Errors
///
/// When the file cannot be written.
pub fn write_piece(file: &File, offset: u64, piece: Piece<'_>) -> io::Result<()> {
    match piece {
        Piece::Data(bytes) => write_sparse(file, offset, bytes),
        Piece::Zeros(_) => Ok(()),
    }
}

/// Where data begins at or after `offset`; none when there is none any more.
fn next_data(file: &File, offset: u64) -> io::Result<Option<u64>> {
    match seek(file, SeekFrom::Data(offset)) {
        Ok(position) => Ok(Some(position)),
        Err(Errno::NXIO) => Ok(None),
        // A filesystem that knows no holes.
        Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(Some(offset)),
        Err(error) => Err(error.into()),
    }
}

fn next_hole(file: &File, offset: u64) -> io::Result<u64> {
    match seek(file, SeekFrom::Hole(offset)) {
        Ok(position) => Ok(position),
        Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NXIO) => Ok(file.metadata()?.len()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use proptest::prelude::*;

    use super::*;

    fn copy(from: &File, len: u64) -> File {
        let to = tempfile::tempfile().unwrap();
        to.set_len(len).unwrap();
        let copied = read_sparse::<io::Error>(from, len, |offset, piece| {
            write_piece(&to, offset, piece)?;
            Ok(ControlFlow::Continue(()))
        });
        assert!(copied.unwrap().is_continue());
        to
    }

    #[test]
    fn holes_stay_and_zeros_become_holes() {
        let from = tempfile::tempfile().unwrap();
        from.set_len(64 << 20).unwrap();
        from.write_all_at(&[7; 10], 1 << 20).unwrap();
        from.write_all_at(&vec![0; 8 << 20], 16 << 20).unwrap();
        from.write_all_at(b"end", (64 << 20) - 3).unwrap();
        let to = copy(&from, 64 << 20);
        let mut bytes = [0; 10];
        to.read_exact_at(&mut bytes, 1 << 20).unwrap();
        assert_eq!(bytes, [7; 10]);
        assert_eq!(to.metadata().unwrap().len(), 64 << 20);
        assert!(to.metadata().unwrap().blocks() * 512 <= 4 * 4096, "{}", to.metadata().unwrap().blocks());
    }

    #[test]
    fn a_file_that_is_shorter_is_an_error() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(b"short", 0).unwrap();
        let read = read_sparse::<io::Error>(&file, 10, |_, _| Ok(ControlFlow::Continue(())));
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    proptest! {
        #[test]
        fn a_copy_is_equal(pieces in proptest::collection::vec((0u64..200_000, 1usize..9000, any::<u8>()), 0..8)) {
            let from = tempfile::tempfile().unwrap();
            for (offset, len, byte) in &pieces {
                from.write_all_at(&vec![*byte; *len], *offset).unwrap();
            }
            let len = from.metadata().unwrap().len();
            let to = copy(&from, len);
            let read = |file: &File| {
                let mut bytes = vec![0; len as usize];
                file.read_exact_at(&mut bytes, 0).unwrap();
                bytes
            };
            prop_assert_eq!(read(&from), read(&to));
        }
    }
}
