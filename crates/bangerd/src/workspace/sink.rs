//! From a thread that reads to a stream that is sent: chunks, with back-pressure.

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;

use super::WorkspaceError;

/// How much is gathered before it is passed on, in bytes.
pub(super) const CHUNK_LEN: usize = 256 * 1024;

/// A channel of chunks.
pub(super) struct Sink {
    buffer: BytesMut,
    channel: mpsc::Sender<Bytes>,
}

impl Sink {
    pub(super) fn new(channel: mpsc::Sender<Bytes>) -> Self {
        Self { buffer: BytesMut::with_capacity(2 * CHUNK_LEN), channel }
    }

    /// What has not been passed on yet; append to it, then [`Self::flush_if_full`].
    pub(super) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    pub(super) fn flush_if_full(&mut self) -> Result<(), WorkspaceError> {
        if self.buffer.len() < CHUNK_LEN { Ok(()) } else { self.flush() }
    }

    pub(super) fn flush(&mut self) -> Result<(), WorkspaceError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = self.buffer.split().freeze();
        self.buffer.reserve(2 * CHUNK_LEN);
        self.channel.blocking_send(chunk).map_err(|_| WorkspaceError::Cut)
    }
}
