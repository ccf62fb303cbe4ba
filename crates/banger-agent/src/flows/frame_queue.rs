//! Frames on their way to the gateway.

use banger_guest_protocol::flow::{HEADER_LEN, Header, Kind};

/// Beyond this many bytes connections wait, and datagrams are dropped.
pub(super) const HIGH_WATER: usize = 256 * 1024;

/// Longest body of a data frame: with its header it is what the port takes in one write.
const DATA_MAX_LEN: usize = 32 * 1024 - HEADER_LEN;

/// A queue of bytes.
#[derive(Debug, Default)]
pub(super) struct FrameQueue {
    bytes: Vec<u8>,
    /// How many of them are gone already.
    sent: usize,
}

impl FrameQueue {
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    pub(super) fn is_full(&self) -> bool {
        self.len() >= HIGH_WATER
    }

    pub(super) fn push(&mut self, kind: Kind, flow: u32, body: &[&[u8]]) {
        let len = body.iter().map(|part| part.len()).sum();
        self.bytes.extend_from_slice(&Header::encode(kind, flow, len));
        body.iter().for_each(|part| self.bytes.extend_from_slice(part));
    }

    /// Queues the beginning of `data`, and says how much that was.
    pub(super) fn push_data(&mut self, flow: u32, data: &[u8], max: usize) -> usize {
        let data = &data[..data.len().min(DATA_MAX_LEN).min(max)];
        self.push(Kind::Data, flow, &[data]);
        data.len()
    }

    pub(super) fn waiting(&self) -> &[u8] {
        &self.bytes[self.sent..]
    }

    pub(super) fn consume(&mut self, count: usize) {
        self.sent += count;
        if self.sent == self.bytes.len() {
            self.clear();
        } else if self.sent > HIGH_WATER {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.sent = 0;
    }
}
