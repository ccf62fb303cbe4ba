//! Bytes between a command and its client.

use std::io;
use std::sync::Arc;

use banger_guest_protocol::frame::{Frame, FrameCodec, PAYLOAD_MAX_LEN};
use bytes::Bytes;
use futures_util::SinkExt;
use rustix::termios::{LocalModes, SpecialCodeIndex, tcgetattr};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use tokio_util::codec::FramedWrite;

use super::{SILENCE_AFTER_EXIT, Stdin, Stream};
use crate::async_file::AsyncFile;

/// Credit is given back in pieces of this many bytes, or when nothing more waits.
const CREDIT_STEP: usize = PAYLOAD_MAX_LEN;

/// Writes frames to the client until the last sender is gone, then closes our side of the stream.
pub(super) async fn send_frames<W: AsyncWrite + Unpin>(writer: W, mut frames: mpsc::Receiver<Frame>) {
    let mut sink = FramedWrite::new(writer, FrameCodec);
    sink.set_backpressure_boundary(PAYLOAD_MAX_LEN);
    while let Some(frame) = frames.recv().await {
        let sent = if frames.is_empty() { sink.send(frame).await } else { sink.feed(frame).await };
        if sent.is_err() {
            // The client is gone; closing `frames` tells everybody.
            return;
        }
    }
    if SinkExt::<Frame>::flush(&mut sink).await.is_ok() {
        let _closed = sink.get_mut().shutdown().await;
    }
}

/// Forwards both outputs to their ends (of which a terminal has but one).
pub(super) async fn all_output(
    stdout: Stream,
    stderr: Stream,
    terminal: bool,
    outbox: &mpsc::Sender<Frame>,
    exited: &watch::Sender<bool>,
) {
    let one = async |stream: Stream, wrap: fn(Bytes) -> Frame| {
        if let Some(stream) = stream {
            forward(&stream, wrap, outbox, exited.subscribe()).await;
            drop(stream);
            let _sent = outbox.send(wrap(Bytes::new())).await;
        }
    };
    if terminal {
        one(stdout, Frame::Stdout).await;
    } else {
        tokio::join!(one(stdout, Frame::Stdout), one(stderr, Frame::Stderr));
    }
}

async fn forward(
    source: &AsyncFile,
    wrap: fn(Bytes) -> Frame,
    outbox: &mpsc::Sender<Frame>,
    mut exited: watch::Receiver<bool>,
) {
    loop {
        let mut buffer = Vec::with_capacity(PAYLOAD_MAX_LEN);
        let read = tokio::select! {
            biased;
            read = source.read_into(&mut buffer) => read,
            () = silence_after_exit(&mut exited) => return,
        };
        // A terminal reports EIO when its last user is gone.
        if !matches!(read, Ok(1..)) {
            return;
        }
        if buffer.len() < PAYLOAD_MAX_LEN / 4 {
            buffer.shrink_to_fit();
        }
        if outbox.send(wrap(Bytes::from(buffer))).await.is_err() {
            return;
        }
    }
}

async fn silence_after_exit(exited: &mut watch::Receiver<bool>) {
    // The sender outlives every pump, so an error is as good as an exit.
    drop(exited.wait_for(|exited| *exited).await);
    tokio::time::sleep(SILENCE_AFTER_EXIT).await;
}

/// Writes the client's stdin to the command, giving credit for what got there. Never ends on its own.
///
/// When the command stops reading, what still comes is dropped, with credit, so that the client does not hang.
pub(super) async fn stdin(
    sink: Stream,
    terminal: bool,
    mut inbox: mpsc::UnboundedReceiver<Bytes>,
    outbox: &mpsc::Sender<Frame>,
    window: &Stdin,
) {
    let mut sink = sink;
    let mut owed = 0;
    while let Some(bytes) = inbox.recv().await {
        if bytes.is_empty() {
            if let Some(terminal) = sink.take().filter(|_| terminal) {
                // A terminal has no end of file but the character for it.
                let _typed = type_end_of_file(&terminal).await;
            }
            continue;
        }
        if let Some(open) = &sink
            && open.write_all(&bytes).await.is_err()
        {
            sink = None;
        }
        owed += bytes.len();
        if owed >= CREDIT_STEP || inbox.is_empty() {
            window.settle(owed);
            // At most the window, which fits.
            let _sent = outbox.send(Frame::Credit(owed as u32)).await;
            owed = 0;
        }
    }
    std::future::pending().await
}

async fn type_end_of_file(terminal: &Arc<AsyncFile>) -> io::Result<()> {
    let modes = tcgetattr(terminal)?;
    // A program that reads single keys would take it for one.
    if modes.local_modes.contains(LocalModes::ICANON) {
        terminal.write_all(&[modes.special_codes[SpecialCodeIndex::VEOF]]).await?;
    }
    Ok(())
}
