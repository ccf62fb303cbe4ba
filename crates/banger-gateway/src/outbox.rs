//! Frames on their way to the guest.

use std::cell::RefCell;

use banger_guest_protocol::flow::{Header, Kind};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::Notify;

/// Beyond this many bytes connections wait, and datagrams are dropped.
const HIGH_WATER: usize = 256 * 1024;

/// A guest that does not read what it is owed beyond this many bytes is not listened to any more either.
const FLOOD: usize = 2 * HIGH_WATER;

/// A bounded queue of bytes; one task empties it.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: RefCell<Vec<u8>>,
    filled: Notify,
    emptied: Notify,
}

impl Outbox {
    /// Frames that are owed whatever waits: few and small, at most some for each flow.
    pub(crate) fn push(&self, kind: Kind, flow: u32, body: &[&[u8]]) {
        let mut queue = self.queue.borrow_mut();
        let len = body.iter().map(|part| part.len()).sum();
        queue.extend_from_slice(&Header::encode(kind, flow, len));
        body.iter().for_each(|part| queue.extend_from_slice(part));
        self.filled.notify_one();
    }

    /// Frames that may be lost. False when it was.
    pub(crate) fn offer(&self, kind: Kind, body: &[&[u8]]) -> bool {
        let has_room = self.has_room();
        if has_room {
            self.push(kind, 0, body);
        }
        has_room
    }

    pub(crate) fn has_room(&self) -> bool {
        self.queue.borrow().len() < HIGH_WATER
    }

    /// Waits until there is room.
    pub(crate) async fn room(&self) {
        while !self.has_room() {
            self.emptied.notified().await;
        }
    }

    /// Waits until the guest has read what it is owed.
    pub(crate) async fn no_flood(&self) {
        while self.queue.borrow().len() >= FLOOD {
            self.emptied.notified().await;
        }
    }

    /// Writes what comes, for ever.
    pub(crate) async fn drain(&self, mut to: impl AsyncWrite + Unpin) -> std::io::Error {
        let mut batch = Vec::new();
        loop {
            while self.queue.borrow().is_empty() {
                self.filled.notified().await;
            }
            batch.clear();
            std::mem::swap(&mut batch, &mut *self.queue.borrow_mut());
            self.emptied.notify_waiters();
            if let Err(error) = to.write_all(&batch).await {
                return error;
            }
            // After a burst the memory is given back.
            if batch.capacity() > 2 * HIGH_WATER {
                batch = Vec::new();
            }
        }
    }
}
