use std::cell::Cell;

use banger_api::stream::{
    ExecSpec, Exit, Frame, FrameCodec, FrameError, PAYLOAD_MAX_LEN, STDIN_WINDOW, Signal, WindowSize,
};
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, mpsc};
use tokio_util::codec::{FramedRead, FramedWrite};

/// Why a command's end is not known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    #[error("the connection to the command broke")]
    Stream(#[source] FrameError),
    #[error("the connection to the command ended before the command did")]
    Ended,
    #[error("the guest sent a frame that only a client may send")]
    Unexpected,
    #[error("stdin or the terminal cannot be used")]
    Local(#[source] std::io::Error),
}

impl From<FrameError> for SessionError {
    /// A peer that went away shows in several ways, by what was under way at the time.
    fn from(error: FrameError) -> Self {
        use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
        match error {
            FrameError::Io(io) if matches!(io.kind(), BrokenPipe | ConnectionReset | UnexpectedEof) => {
                Self::Ended
            }
            other => Self::Stream(other),
        }
    }
}

/// What the client wants to happen besides its stdin.
#[derive(Clone, Copy, Debug)]
pub(super) enum Control {
    Signal(Signal),
    Resize(WindowSize),
}

/// This side of a conversation.
pub(super) struct Ports {
    /// An empty piece, or a closed channel, is the end of it.
    pub(super) stdin: mpsc::Receiver<Bytes>,
    pub(super) control: mpsc::Receiver<Control>,
    pub(super) stdout: mpsc::Sender<Bytes>,
    pub(super) stderr: mpsc::Sender<Bytes>,
}

/// How a conversation ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Exit(Exit),
    /// Nobody reads stdout any more.
    OutputClosed,
}

/// Runs a command over `stream` to its end. `heard` counts the frames that came: it tells a guest that lives from one that hangs.
pub(super) async fn converse(
    stream: impl AsyncRead + AsyncWrite,
    spec: ExecSpec,
    ports: Ports,
    heard: &Cell<u64>,
) -> Result<Ending, SessionError> {
    let (reader, writer) = tokio::io::split(stream);
    let (mut frames, mut sink) = (FramedRead::new(reader, FrameCodec), FramedWrite::new(writer, FrameCodec));
    sink.send(Frame::Start(spec)).await?;
    let Ports { stdin, control, stdout, stderr } = ports;
    let credit = Credit { free: Cell::new(STDIN_WINDOW), grown: Notify::new() };
    let listening = async {
        while let Some(frame) = frames.next().await {
            heard.set(heard.get() + 1);
            match frame? {
                Frame::Stdout(bytes) => {
                    if stdout.send(bytes).await.is_err() {
                        return Ok(Ending::OutputClosed);
                    }
                }
                // Who closed stderr wants to hear no complaints.
                Frame::Stderr(bytes) => drop(stderr.send(bytes).await),
                Frame::Credit(bytes) => credit.grow(bytes as usize),
                Frame::Exit(exit) => return Ok(Ending::Exit(exit)),
                _ => return Err(SessionError::Unexpected),
            }
        }
        Err(SessionError::Ended)
    };
    tokio::pin!(listening);
    tokio::select! {
        ending = &mut listening => ending,
        // Where nothing can be sent any more, the command's last words may still be on their way.
        Err(broken) = talk(&mut sink, stdin, control, &credit) => match listening.await {
            Err(SessionError::Ended) => Err(broken.into()),
            ending => ending,
        },
    }
}

/// How many bytes of stdin may be sent.
struct Credit {
    free: Cell<usize>,
    grown: Notify,
}

impl Credit {
    fn grow(&self, bytes: usize) {
        // More than was ever sent cannot have been used up.
        self.free.set((self.free.get() + bytes).min(STDIN_WINDOW));
        self.grown.notify_one();
    }
}

async fn talk<W: AsyncWrite + Unpin>(
    sink: &mut FramedWrite<W, FrameCodec>,
    mut stdin: mpsc::Receiver<Bytes>,
    mut control: mpsc::Receiver<Control>,
    credit: &Credit,
) -> Result<std::convert::Infallible, FrameError> {
    let (mut piece, mut open) = (Bytes::new(), true);
    loop {
        tokio::select! {
            biased;
            Some(wish) = control.recv() => sink.send(wish.into()).await?,
            () = credit.grown.notified(), if !piece.is_empty() => {}
            next = stdin.recv(), if open && piece.is_empty() => {
                piece = next.unwrap_or_default();
                if piece.is_empty() {
                    open = false;
                    sink.send(Frame::Stdin(Bytes::new())).await?;
                }
            }
            else => std::future::pending().await,
        }
        while !piece.is_empty() && credit.free.get() > 0 {
            let len = piece.len().min(credit.free.get()).min(PAYLOAD_MAX_LEN);
            credit.free.set(credit.free.get() - len);
            sink.send(Frame::Stdin(piece.split_to(len))).await?;
        }
    }
}

impl From<Control> for Frame {
    fn from(wish: Control) -> Self {
        match wish {
            Control::Signal(signal) => Self::Signal(signal),
            Control::Resize(size) => Self::Resize(size),
        }
    }
}

#[cfg(test)]
#[path = "converse_tests.rs"]
mod tests;
