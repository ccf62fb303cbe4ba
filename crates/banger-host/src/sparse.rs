//! Files with holes: where their data lies.

use std::fs::File;
use std::io;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

/// Holes shorter than this count as data: each one costs a line in a map and a system call.
const HOLE_MIN_LEN: u64 = 32 << 10;

/// Most runs that [`data_runs`] answers; in a file with more, shorter holes are taken for data.
pub const RUNS_MAX: usize = 1 << 18;

/// A part of a file that holds data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataRun {
    pub offset: u64,
    pub len: u64,
}

impl DataRun {
    /// Where it ends.
    pub fn end(self) -> u64 {
        self.offset + self.len
    }
}

/// Where the data of a file of `len` bytes lies, in order and without overlap. Takes no time for holes.
///
/// # Errors
///
/// When the file cannot be looked at.
pub fn data_runs(file: &File, len: u64) -> io::Result<Vec<DataRun>> {
    let (mut runs, mut hole_min_len): (Vec<DataRun>, _) = (Vec::new(), HOLE_MIN_LEN);
    let mut position = 0;
    while position < len {
        let start = match seek(file, SeekFrom::Data(position)) {
            Ok(start) => start,
            // Nothing but a hole follows.
            Err(Errno::NXIO) => break,
            // A file system that knows no holes.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => position,
            Err(errno) => return Err(errno.into()),
        };
        if start >= len {
            break;
        }
        let end = match seek(file, SeekFrom::Hole(start)) {
            Ok(end) => end.min(len),
            Err(Errno::INVAL | Errno::OPNOTSUPP) => len,
            Err(errno) => return Err(errno.into()),
        };
        // Cannot be, but must not loop either.
        if end <= start {
            return Err(io::Error::other("the file system does not know where its data ends"));
        }
        add(&mut runs, DataRun { offset: start, len: end - start }, hole_min_len);
        while runs.len() >= RUNS_MAX {
            hole_min_len *= 2;
            let all = std::mem::take(&mut runs);
            all.into_iter().for_each(|run| add(&mut runs, run, hole_min_len));
        }
        position = end;
    }
    Ok(runs)
}

fn add(runs: &mut Vec<DataRun>, run: DataRun, hole_min_len: u64) {
    match runs.last_mut() {
        Some(last) if run.offset - last.end() < hole_min_len => last.len = run.end() - last.offset,
        _ => runs.push(run),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt as _;
    use std::path::Path;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn sparse(path: &Path, len: u64, data: &[(u64, &[u8])]) -> File {
        let file = File::options().read(true).write(true).create_new(true).open(path).unwrap();
        file.set_len(len).unwrap();
        for (offset, bytes) in data {
            file.write_all_at(bytes, *offset).unwrap();
        }
        file
    }

    #[test]
    fn data_is_found_and_holes_are_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let data = vec![7; 4096];
        let len = 1 << 40;
        let file = sparse(&dir.path().join("f"), len, &[(0, &data), (100 * MIB, &data), (len - 4096, &data)]);
        let runs = data_runs(&file, len).unwrap();
        for offset in [0, 100 * MIB, len - 1] {
            assert!(runs.iter().any(|run| (run.offset..run.end()).contains(&offset)), "{offset}");
        }
        assert!(runs.iter().map(|run| run.len).sum::<u64>() < 64 * MIB, "{runs:?}");
        assert!(runs.windows(2).all(|pair| pair[0].end() < pair[1].offset));
    }

    #[test]
    fn files_without_data_have_no_run() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(data_runs(&sparse(&dir.path().join("e"), 0, &[]), 0).unwrap(), []);
        assert_eq!(data_runs(&sparse(&dir.path().join("h"), MIB, &[]), MIB).unwrap(), []);
    }

    #[test]
    fn short_holes_count_as_data_and_long_ones_do_not() {
        let mut runs = Vec::new();
        for offset in [0, 8192, 1 << 20] {
            add(&mut runs, DataRun { offset, len: 4096 }, HOLE_MIN_LEN);
        }
        assert_eq!(runs, [DataRun { offset: 0, len: 12288 }, DataRun { offset: 1 << 20, len: 4096 }]);
    }
}
