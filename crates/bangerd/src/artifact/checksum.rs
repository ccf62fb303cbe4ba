use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt as _;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};

const CHUNK: usize = 1 << 20;
static ZEROS: [u8; 1 << 16] = [0; 1 << 16];

/// The SHA-256 of `bytes`, in hex.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    super::hex(&Sha256::digest(bytes))
}

/// The SHA-256 of a file, in hex. Holes are not read, which keeps an image's emptiness out of the page cache.
///
/// # Errors
///
/// When it cannot be read; [`io::ErrorKind::Interrupted`] when `progress` (bytes done, bytes in all) says to stop.
pub(crate) fn sha256_file(
    file: &File,
    progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> io::Result<String> {
    let len = file.metadata()?.len();
    let mut hash = Sha256::new();
    let mut buffer = vec![0; CHUNK];
    let mut done = 0;
    while done < len {
        let data = boundary(file, SeekFrom::Data(done), len)?;
        let hole = boundary(file, SeekFrom::Hole(data), len)?;
        while done < hole {
            let end = if done < data { data } else { hole };
            let step = (end - done).min(CHUNK as u64) as usize;
            if done < data {
                buffer[..step].chunks(ZEROS.len()).for_each(|part| hash.update(&ZEROS[..part.len()]));
            } else {
                file.read_exact_at(&mut buffer[..step], done)?;
                hash.update(&buffer[..step]);
            }
            done += step as u64;
            if progress(done, len).is_break() {
                return Err(io::ErrorKind::Interrupted.into());
            }
        }
    }
    Ok(super::hex(&hash.finalize()))
}

/// Where data (or a hole) begins; at the end of the file, when there is no more of it.
fn boundary(file: &File, from: SeekFrom, len: u64) -> io::Result<u64> {
    match seek(file, from) {
        Ok(offset) => Ok(offset.min(len)),
        Err(Errno::NXIO) => Ok(len),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_file(pieces: &[(u64, &[u8])], len: u64) -> String {
        let file = tempfile::tempfile().unwrap();
        file.set_len(len).unwrap();
        for (offset, bytes) in pieces {
            file.write_all_at(bytes, *offset).unwrap();
        }
        let mut whole = vec![0; len as usize];
        file.read_exact_at(&mut whole, 0).unwrap();
        let sum = sha256_file(&file, &mut |_, _| ControlFlow::Continue(())).unwrap();
        assert_eq!(sum, sha256(&whole));
        sum
    }

    #[test]
    fn holes_count_as_zeros() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(of_file(&[], 0), empty);
        of_file(&[], 5 << 20);
        of_file(&[(0, b"begin"), (3 << 20, &[7; 100_000])], 5 << 20);
        of_file(&[(1 << 20, &[1; 3 << 20]), ((5 << 20) - 1, b"x")], 5 << 20);
    }

    #[test]
    fn it_can_be_stopped() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 40).unwrap();
        let error = sha256_file(&file, &mut |_, _| ControlFlow::Break(())).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Interrupted);
    }
}
