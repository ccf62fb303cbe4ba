//! Bytes between a command and its client.

use banger_guest_protocol::frame::{Frame, FrameCodec, PAYLOAD_MAX_LEN};
use bytes::Bytes;
use futures_util::SinkExt;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_util::codec::FramedWrite;

use super::{Stdin, Stream, end_of_input};

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
        // The client has all there is, whether or not it takes the goodbye.
        let _closed = sink.get_mut().shutdown().await;
    }
}

/// Writes the client's stdin to the command, giving credit for what got there. Never ends on its own.
///
/// When the command stops reading, what still comes is dropped, with credit, so that the client does not
/// hang.
pub(super) async fn stdin(
    sink: Stream,
    terminal: bool,
    mut inbox: mpsc::UnboundedReceiver<Bytes>,
    outbox: &mpsc::Sender<Frame>,
    window: &Stdin,
) {
    let mut sink = sink;
    let (mut owed, mut last) = (0, b'\n');
    while let Some(bytes) = inbox.recv().await {
        let Some(end) = bytes.last() else {
            if let Some(terminal) = sink.take().filter(|_| terminal) {
                // It ends with the terminal, when there is nothing more to do.
                let _gone = end_of_input::keep(&terminal, last != b'\n').await;
            }
            continue;
        };
        last = *end;
        if let Some(open) = &sink
            && open.write_all(&bytes).await.is_err()
        {
            sink = None;
        }
        owed += bytes.len();
        if owed >= CREDIT_STEP || inbox.is_empty() {
            window.taken(owed);
            // At most the window, which fits. Fails only when the client is gone.
            let _sent = outbox.send(Frame::Credit(owed as u32)).await;
            owed = 0;
        }
    }
    std::future::pending().await
}
