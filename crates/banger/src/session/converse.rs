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
    #[error("could not write to {stream}")]
    Write { stream: &'static str, source: std::io::Error },
    #[error("could not read stdin")]
    Read(#[source] std::io::Error),
}

impl SessionError {
    /// It is this process's own streams that failed, not the guest.
    pub(crate) fn is_local(&self) -> bool {
        matches!(self, Self::Local(_) | Self::Write { .. } | Self::Read(_))
    }
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
    /// Nobody reads stdout any more, and the command's own end is not known.
    OutputClosed,
}

/// Counts what came.
#[derive(Default)]
pub(super) struct Heard {
    /// Of any kind: they tell a guest that lives from one that hangs.
    pub(super) frames: Cell<u64>,
    /// Of the command's output.
    pub(super) output: Cell<u64>,
}

/// Runs a command over `stream` to its end.
///
/// When one of our readers goes away, the command is told so (it gets SIGPIPE when it writes on, as it would
/// here) and ends as it likes, but for one on a terminal, which knows no such thing: it is hung up on.
pub(super) async fn converse(
    stream: impl AsyncRead + AsyncWrite,
    spec: ExecSpec,
    ports: Ports,
    heard: &Heard,
) -> Result<Ending, SessionError> {
    let (reader, writer) = tokio::io::split(stream);
    let (mut frames, mut sink) = (FramedRead::new(reader, FrameCodec), FramedWrite::new(writer, FrameCodec));
    let with_tty = spec.tty.is_some();
    sink.send(Frame::Start(spec)).await?;
    let Ports { stdin, control, stdout, stderr } = ports;
    let credit = Credit { free: Cell::new(STDIN_WINDOW), grown: Notify::new() };
    // At most one for each output.
    let (to_tell, gone) = mpsc::channel(2);
    let (mut stdout, mut stderr) = (Some(stdout), Some(stderr));
    let listening = async {
        while let Some(frame) = frames.next().await {
            heard.frames.set(heard.frames.get() + 1);
            match frame? {
                Frame::Stdout(bytes) => {
                    heard.output.set(heard.output.get() + 1);
                    if !pass_on(&mut stdout, bytes, &to_tell, Frame::Stdout).await && with_tty {
                        return Ok(Ending::OutputClosed);
                    }
                }
                Frame::Stderr(bytes) => {
                    heard.output.set(heard.output.get() + 1);
                    pass_on(&mut stderr, bytes, &to_tell, Frame::Stderr).await;
                }
                Frame::Credit(bytes) => credit.grow(bytes as usize),
                Frame::Exit(exit) => return Ok(Ending::Exit(exit)),
                _ => return Err(SessionError::Unexpected),
            }
        }
        Err(SessionError::Ended)
    };
    let ending = {
        tokio::pin!(listening);
        tokio::select! {
            ending = &mut listening => ending,
            // Where nothing can be sent any more, the command's last words may still be on their way.
            Err(broken) = talk(&mut sink, stdin, control, gone, &credit) => match listening.await {
                Err(SessionError::Ended) => Err(broken.into()),
                ending => ending,
            },
        }
    };
    match ending {
        // A guest that knows nothing of readers ends the command instead.
        Err(SessionError::Ended | SessionError::Stream(_)) if stdout.is_none() => Ok(Ending::OutputClosed),
        ending => ending,
    }
}

/// False when there is no reader; the guest learns it once.
async fn pass_on(
    reader: &mut Option<mpsc::Sender<Bytes>>,
    bytes: Bytes,
    to_tell: &mpsc::Sender<Frame>,
    wrap: fn(Bytes) -> Frame,
) -> bool {
    let Some(open) = reader else { return false };
    if bytes.is_empty() || open.send(bytes).await.is_ok() {
        return true;
    }
    *reader = None;
    // There is room for it; a guest that cannot be told is about to be lost altogether.
    let _told = to_tell.try_send(wrap(Bytes::new()));
    false
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
    mut gone: mpsc::Receiver<Frame>,
    credit: &Credit,
) -> Result<std::convert::Infallible, FrameError> {
    let (mut piece, mut open) = (Bytes::new(), true);
    loop {
        tokio::select! {
            biased;
            Some(wish) = control.recv() => sink.send(wish.into()).await?,
            Some(reader) = gone.recv() => sink.send(reader).await?,
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
