//! The bytes of files on their way from the tar file into an image: in whole blocks, without those that hold only zeros.

use std::fs::File;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;

use mkext4::SparseSeg;
use mkext4::sink::RegionSink;

use crate::tar_source::FileContent;

/// A filesystem block, in bytes.
pub(crate) const BLOCK_LEN: u64 = 4096;

/// Runs of whole blocks that hold data, as start and end in the file; the last may end in the middle of a block.
fn data_runs(content: &FileContent) -> Vec<(u64, u64)> {
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

/// The file's map of data and holes; none when it has no hole.
pub(crate) fn sparse_segments(content: &FileContent) -> Option<Vec<SparseSeg>> {
    let runs = data_runs(content);
    if runs == [(0, content.size_bytes)] || content.size_bytes == 0 {
        return None;
    }
    let (mut segments, mut position) = (Vec::new(), 0);
    for (start, end) in runs {
        if start > position {
            segments.push(SparseSeg::Hole(start - position));
        }
        segments.push(SparseSeg::Data(end - start));
        position = end;
    }
    if position < content.size_bytes {
        segments.push(SparseSeg::Hole(content.size_bytes - position));
    }
    Some(segments)
}

/// Reads a file's data runs out of the tar file, and reports what it has read.
pub(crate) struct ContentReader<'a, R: FnMut(u64) -> ControlFlow<()>> {
    source: &'a File,
    content: &'a FileContent,
    /// What is still to be read: runs as start and end in the file, the next one last.
    runs: Vec<(u64, u64)>,
    next_segment: usize,
    report: &'a mut R,
    cancelled: &'a mut bool,
}

impl<'a, R: FnMut(u64) -> ControlFlow<()>> ContentReader<'a, R> {
    pub(crate) fn new(
        source: &'a File,
        content: &'a FileContent,
        report: &'a mut R,
        cancelled: &'a mut bool,
    ) -> Self {
        let mut runs = data_runs(content);
        runs.reverse();
        Self { source, content, runs, next_segment: 0, report, cancelled }
    }
}

impl<R: FnMut(u64) -> ControlFlow<()>> Read for ContentReader<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if *self.cancelled {
            return Err(io::Error::other("cancelled"));
        }
        let Some((start, end)) = self.runs.last_mut() else { return Ok(0) };
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
            Some(offset) => {
                self.source.read_exact_at(&mut buffer[..len], offset)?;
                *self.cancelled = (self.report)(len as u64).is_break();
            }
            None => buffer[..len].fill(0),
        }
        *start += len as u64;
        if *start == *end {
            self.runs.pop();
        }
        Ok(len)
    }
}

/// Leaves out blocks of zeros: the file is sparse.
pub(crate) struct SparseSink<'a>(pub(crate) &'a File);

impl RegionSink for SparseSink<'_> {
    fn data(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut position = 0;
        while position < bytes.len() {
            let is_hole = |chunk: &[u8]| chunk.iter().all(|byte| *byte == 0);
            let hole = is_hole(&bytes[position..bytes.len().min(position + BLOCK_LEN as usize)]);
            // As far as it goes on like this.
            let chunks =
                bytes[position..].chunks(BLOCK_LEN as usize).take_while(|chunk| is_hole(chunk) == hole);
            let len: usize = chunks.map(<[u8]>::len).sum();
            if !hole {
                self.0.write_all_at(&bytes[position..position + len], offset + position as u64)?;
            }
            position += len;
        }
        Ok(())
    }

    fn zeros(&mut self, _offset: u64, _len: u64) -> io::Result<()> {
        Ok(())
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
                FileContent { layer: 0, size_bytes: file_offset + hole, segments }
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
            let (mut reported, mut cancelled) = (0, false);
            let mut report = |added| {
                reported += added;
                ControlFlow::Continue(())
            };
            let mut data = Vec::new();
            ContentReader::new(&source, &content, &mut report, &mut cancelled).read_to_end(&mut data).unwrap();
            let (mut rebuilt, mut data) = (Vec::new(), &data[..]);
            let whole = [SparseSeg::Data(content.size_bytes)];
            let map = sparse_segments(&content);
            for (index, part) in map.as_deref().unwrap_or(&whole).iter().enumerate() {
                let is_last = map.as_ref().is_none_or(|map| index + 1 == map.len());
                let (SparseSeg::Data(len) | SparseSeg::Hole(len)) = *part;
                prop_assert!(is_last || len % BLOCK_LEN == 0);
                if let SparseSeg::Data(len) = *part {
                    let (part, rest) = data.split_at(len as usize);
                    rebuilt.extend_from_slice(part);
                    data = rest;
                } else {
                    rebuilt.resize(rebuilt.len() + len as usize, 0);
                }
            }
            prop_assert!(rebuilt == expected && data.is_empty());
            prop_assert_eq!(reported, content.segments.iter().map(|segment| segment.len).sum::<u64>());
        }
    }
}
