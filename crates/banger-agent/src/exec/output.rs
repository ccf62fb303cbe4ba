//! What a command writes, on its way to the client.
//!
//! | from | to | goes |
//! |---|---|---|
//! | the command's start | its exit | to the client |
//! | its exit | [`HELPERS_LIMIT`] later, or end of file | to the client: `cmd > >(tee log)` has helpers that are not done yet |
//! | then | the last writer's end | nowhere |
//!
//! All that the command itself wrote lies in the pipe when it has exited, so none of it is lost; nor does
//! anybody wait who left nothing behind. What it did leave behind (`server &`) has a reader for good: with
//! none it would die of SIGPIPE at its next word, and with one that stops reading it would stop, too.
//!
//! A terminal is not kept: it hangs up on whoever is still there, as every terminal does.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use banger_guest_protocol::frame::{Frame, PAYLOAD_MAX_LEN};
use bytes::Bytes;
use rustix::pipe::fcntl_setpipe_size;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Stream;
use super::process::PIPE_LEN;
use crate::async_file::AsyncFile;

/// How long after a command's exit others may still write for it.
const HELPERS_LIMIT: Duration = Duration::from_millis(200);

/// There may be many leftovers, and each gets a pipe that holds this much at most.
const LEFTOVER_PIPE_LEN: usize = 64 * 1024;

/// Keeps a leftover that never stops writing from keeping the agent busy.
const LEFTOVER_PAUSE: Duration = Duration::from_millis(1);

#[derive(Clone, Copy, Debug)]
enum Fate {
    Forward,
    /// The command exited.
    LastWords {
        since: Instant,
    },
    /// The client is gone.
    Abandon,
}

/// Both outputs of a command (of which a terminal has but one), each with a task of its own.
pub(super) struct Output {
    fate: watch::Sender<Fate>,
    carriers: Vec<JoinHandle<Stream>>,
    readers: Readers,
    terminal: bool,
}

/// Told when the client has no reader any more for one of them.
#[derive(Clone, Default)]
pub(super) struct Readers {
    pub(super) stdout: Arc<Notify>,
    pub(super) stderr: Arc<Notify>,
}

impl Output {
    pub(super) fn start(
        stdout: Stream,
        stderr: Stream,
        terminal: bool,
        outbox: &mpsc::Sender<Frame>,
    ) -> Self {
        let (fate, readers) = (watch::Sender::new(Fate::Forward), Readers::default());
        let carrier = |source: Stream, wrap, reader: &Arc<Notify>| {
            let (outbox, reader) = (outbox.clone(), Arc::clone(reader));
            let carrier = Carrier { source: source?, wrap, outbox, fate: fate.subscribe() };
            Some(tokio::spawn(carrier.carry(reader)))
        };
        let both = [
            carrier(stdout, Frame::Stdout as fn(Bytes) -> Frame, &readers.stdout),
            carrier(stderr, Frame::Stderr, &readers.stderr),
        ];
        Self { carriers: both.into_iter().flatten().collect(), fate, readers, terminal }
    }

    pub(super) fn readers(&self) -> Readers {
        self.readers.clone()
    }

    /// The command has exited: passes on what it wrote.
    pub(super) async fn finish(&mut self) {
        self.end(Fate::LastWords { since: Instant::now() }).await;
    }

    /// Nobody is there to hear more of it.
    pub(super) async fn abandon(&mut self) {
        self.end(Fate::Abandon).await;
    }

    /// Safe to drop half-way, and to call again.
    async fn end(&mut self, fate: Fate) {
        self.fate.send_replace(fate);
        while let Some(carrier) = self.carriers.last_mut() {
            let rest = carrier.await;
            self.carriers.pop();
            if let Ok(Some(rest)) = rest
                && !self.terminal
            {
                tokio::spawn(throw_away(rest));
            }
        }
    }
}

struct Carrier {
    source: Arc<AsyncFile>,
    wrap: fn(Bytes) -> Frame,
    outbox: mpsc::Sender<Frame>,
    fate: watch::Receiver<Fate>,
}

impl Carrier {
    /// Answers what may still be written to.
    async fn carry(self, reader: Arc<Notify>) -> Stream {
        let still_open = tokio::select! {
            biased;
            // The command shall meet a closed pipe, too.
            () = reader.notified() => return None,
            () = abandoned(self.fate.clone()) => return Some(self.source),
            open = self.forward(self.fate.clone()) => open,
        };
        let Self { source, wrap, outbox, .. } = self;
        let rest = still_open.then_some(source);
        // Fails only when the client is gone.
        let _sent = outbox.send(wrap(Bytes::new())).await;
        rest
    }

    /// Forwards until it is time to stop; false at end of file.
    async fn forward(&self, mut fate: watch::Receiver<Fate>) -> bool {
        let exited_at = loop {
            let mut buffer = Vec::with_capacity(PAYLOAD_MAX_LEN);
            let read = tokio::select! {
                biased;
                at = exit(&mut fate) => break at,
                read = self.source.read_into(&mut buffer) => read,
            };
            if !self.pass_on(read, buffer).await {
                return false;
            }
        };
        // A pipe holds no more than this, and others may fill it as fast as it is read.
        let mut left = PIPE_LEN;
        while left > 0 {
            let mut buffer = Vec::with_capacity(PAYLOAD_MAX_LEN);
            let Some(read) = self.source.read_now(&mut buffer).transpose() else { break };
            left = left.saturating_sub(buffer.len());
            if !self.pass_on(read, buffer).await {
                return false;
            }
        }
        loop {
            let mut buffer = Vec::with_capacity(PAYLOAD_MAX_LEN);
            let read = tokio::select! {
                biased;
                () = tokio::time::sleep_until(exited_at + HELPERS_LIMIT) => return true,
                read = self.source.read_into(&mut buffer) => read,
            };
            if !self.pass_on(read, buffer).await {
                return false;
            }
        }
    }

    /// False when there is no more: a terminal reports `EIO` when its last user is gone.
    async fn pass_on(&self, read: io::Result<usize>, mut buffer: Vec<u8>) -> bool {
        if !matches!(read, Ok(1..)) {
            return false;
        }
        if buffer.len() < PAYLOAD_MAX_LEN / 4 {
            buffer.shrink_to_fit();
        }
        if self.outbox.send((self.wrap)(Bytes::from(buffer))).await.is_err() {
            // We are told in a moment what to do then.
            std::future::pending::<()>().await;
        }
        true
    }
}

async fn exit(fate: &mut watch::Receiver<Fate>) -> Instant {
    #[allow(clippy::disallowed_methods, reason = "the guard ends inside the statement")]
    let found = fate.wait_for(|fate| matches!(fate, Fate::LastWords { .. })).await.map(|fate| *fate);
    match found {
        Ok(Fate::LastWords { since }) => since,
        _ => std::future::pending().await,
    }
}

/// Also when there is nobody any more to tell.
async fn abandoned(mut fate: watch::Receiver<Fate>) {
    #[allow(clippy::disallowed_methods, reason = "the guard ends inside the statement")]
    drop(fate.wait_for(|fate| matches!(fate, Fate::Abandon)).await);
}

/// Reads until the last writer is gone.
async fn throw_away(source: Arc<AsyncFile>) {
    let mut small = false;
    while let Ok(1..) = source.discard().await {
        // Refused while there is more in it.
        small = small || fcntl_setpipe_size(&*source, LEFTOVER_PIPE_LEN).is_ok();
        tokio::time::sleep(LEFTOVER_PAUSE).await;
    }
}
