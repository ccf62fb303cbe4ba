use std::sync::Arc;

use bytes::Bytes;

use super::{Item, Run};

/// How far a sparse file's content has come.
#[derive(Debug)]
pub(super) struct SparseData {
    runs: Arc<[Run]>,
    next: usize,
    position: u64,
    /// Of the present run.
    left: u64,
    size: u64,
    /// What fills the last block.
    pub(super) padding: u64,
}

impl SparseData {
    pub(super) fn new(size: u64, runs: Arc<[Run]>, padding: u64) -> Self {
        Self { runs, next: 0, position: 0, left: 0, size, padding }
    }

    /// The next piece; the outer none at the end, the inner one when there is nothing in `chunk`.
    #[allow(clippy::option_option, reason = "the end is not the lack of bytes")]
    pub(super) fn next(&mut self, chunk: &mut Bytes) -> Option<Option<Item>> {
        loop {
            if self.left > 0 {
                if chunk.is_empty() {
                    return Some(None);
                }
                let len = chunk.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
                self.left -= len as u64;
                self.position += len as u64;
                return Some(Some(Item::Data(chunk.split_to(len))));
            }
            let run = self.runs.get(self.next).copied();
            let hole_end = run.map_or(self.size, |run| run.offset);
            if hole_end > self.position {
                let hole = hole_end - self.position;
                self.position = hole_end;
                return Some(Some(Item::Hole(hole)));
            }
            self.left = run?.len;
            self.next += 1;
        }
    }
}
