//! The bytes of files on their way from the tar file into an image: in whole blocks, without those in holes.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::sparse_file;
use crate::tar_source::FileContent;

const BLOCK_LEN: u64 = sparse_file::BLOCK_LEN as u64;

/// Runs of whole blocks that hold data, as start and end in the file; the last may end in the middle of a
/// block.
pub(crate) fn data_runs(content: &FileContent) -> Vec<(u64, u64)> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for segment in &content.segments {
        let start = segment.file_offset / BLOCK_LEN * BLOCK_LEN;
        let end = (segment.file_offset + segment.len).next_multiple_of(BLOCK_LEN).min(content.size_bytes);
        match runs.last_mut() {
            Some(last) if start <= last.1 => last.1 = last.1.max(end),
            _ => runs.push((start, end)),
        }
    }
    runs
}

/// Reads a file's data runs out of the tar file, one after the other.
pub(crate) struct ContentReader<'a> {
    source: &'a File,
    content: &'a FileContent,
    /// What is still to be read: runs as start and end in the file, the next one last.
    runs: Vec<(u64, u64)>,
    next_segment: usize,
}

impl<'a> ContentReader<'a> {
    pub(crate) fn new(source: &'a File, content: &'a FileContent) -> Self {
        let mut runs = data_runs(content);
        runs.reverse();
        Self { source, content, runs, next_segment: 0 }
    }

    /// Fills `buffer`, which must not be larger than what is left; says how many of the bytes were in the tar
    /// file.
    pub(crate) fn read(&mut self, mut buffer: &mut [u8]) -> io::Result<u64> {
        let mut held = 0;
        while !buffer.is_empty() {
            let (len, from_tar) = self.read_piece(buffer)?;
            held += if from_tar { len as u64 } else { 0 };
            buffer = &mut buffer[len..];
        }
        Ok(held)
    }

    fn read_piece(&mut self, buffer: &mut [u8]) -> io::Result<(usize, bool)> {
        let Some((start, end)) = self.runs.last_mut() else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        let segments = &self.content.segments;
        while segments
            .get(self.next_segment)
            .is_some_and(|segment| segment.file_offset + segment.len <= *start)
        {
            self.next_segment += 1;
        }
        // Up to the segment's end, up to its beginning (zeros), or up to the run's end.
        let segment = segments.get(self.next_segment).filter(|segment| segment.file_offset < *end);
        let (stop, tar_offset) = match segment {
            Some(segment) if segment.file_offset <= *start => {
                let skipped = *start - segment.file_offset;
                (segment.file_offset + segment.len, Some(segment.tar_offset + skipped))
            }
            Some(segment) => (segment.file_offset, None),
            None => (*end, None),
        };
        let len = usize::try_from(stop.min(*end) - *start).unwrap_or(usize::MAX).min(buffer.len());
        match tar_offset {
            Some(offset) => self.source.read_exact_at(&mut buffer[..len], offset)?,
            None => buffer[..len].fill(0),
        }
        *start += len as u64;
        if *start == *end {
            self.runs.pop();
        }
        Ok((len, tar_offset.is_some()))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;
    use crate::tar_source::Segment;

    /// Gaps and lengths of a sparse file's segments, and a hole behind them.
    fn any_content() -> impl Strategy<Value = FileContent> {
        (prop::collection::vec((0_u64..20_000, 1_u64..9000), 0..6), 0_u64..20_000).prop_map(
            |(parts, hole)| {
                let (mut file_offset, mut tar_offset, mut segments) = (0, 7, Vec::new());
                for (gap, len) in parts {
                    file_offset += gap;
                    segments.push(Segment { file_offset, tar_offset, len });
                    file_offset += len;
                    tar_offset += len;
                }
                FileContent { size_bytes: file_offset + hole, segments }
            },
        )
    }

    proptest! {
        #[test]
        fn data_and_holes_add_up_to_the_file(content in any_content()) {
            let mut source = tempfile::tempfile().unwrap();
            let bytes: Vec<u8> = (0..70_000_u32).map(|n| (n % 251) as u8 + 1).collect();
            source.write_all(&bytes).unwrap();
            let mut expected = vec![0; content.size_bytes as usize];
            for Segment { file_offset, tar_offset, len } in &content.segments {
                let (to, from, len) = (*file_offset as usize, *tar_offset as usize, *len as usize);
                expected[to..to + len].copy_from_slice(&bytes[from..from + len]);
            }
            let mut reader = ContentReader::new(&source, &content);
            let (mut rebuilt, mut held, mut position) = (vec![0; content.size_bytes as usize], 0, 0);
            for (start, end) in data_runs(&content) {
                prop_assert!(start % BLOCK_LEN == 0 && start >= position && end > start);
                prop_assert!(end % BLOCK_LEN == 0 || end == content.size_bytes);
                let (first, second) = rebuilt[start as usize..end as usize].split_at_mut((end - start) as usize / 2);
                held += reader.read(first).unwrap() + reader.read(second).unwrap();
                position = end;
            }
            prop_assert!(rebuilt == expected && reader.read(&mut [0]).is_err());
            prop_assert_eq!(held, content.segments.iter().map(|segment| segment.len).sum::<u64>());
        }
    }
}
