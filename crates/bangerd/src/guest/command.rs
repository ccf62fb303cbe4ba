use banger_guest_protocol::ByteString;
use banger_guest_protocol::frame::{
    ExecSpec, Exit, Frame, FrameCodec, FrameError, PAYLOAD_MAX_LEN, STDIN_WINDOW,
};
use bytes::Bytes;
use futures_util::{SinkExt as _, Stream, StreamExt as _};
use tokio::io::WriteHalf;
use tokio::sync::Semaphore;
use tokio_util::codec::{FramedRead, FramedWrite};

use super::client::ExecUpgrade;
use super::{Guest, GuestError};

/// How much of what a command says on stderr is kept, in bytes.
const STDERR_MAX_LEN: usize = 16 * 1024;

/// A command that the daemon itself runs in a guest. The guest is not trusted: whatever it says is bounded,
/// and whoever waits for it sets a time limit.
#[derive(Clone, Debug, Default)]
pub struct GuestCommand {
    pub argv: Vec<ByteString>,
    pub env: Vec<(ByteString, ByteString)>,
    pub workdir: Option<ByteString>,
}

/// How it went.
#[derive(Clone, Debug)]
pub struct GuestOutput {
    pub exit: Exit,
    pub stderr: Vec<u8>,
}

impl Guest {
    /// Runs a command to its end, with `stdin` as its input. `stdout` gets what it prints, piece by piece; an
    /// error of `stdout`'s ends the command.
    ///
    /// # Errors
    ///
    /// When the guest breaks off or breaks the protocol, or `stdout` does not want more.
    pub async fn run<E: From<GuestError>>(
        &self,
        command: GuestCommand,
        stdin: impl Stream<Item = Bytes> + Send,
        mut stdout: impl FnMut(&[u8]) -> Result<(), E> + Send,
    ) -> Result<GuestOutput, E> {
        let (reader, writer) = tokio::io::split(self.exec().await?);
        let mut frames = FramedRead::new(reader, FrameCodec);
        let mut sink = FramedWrite::new(writer, FrameCodec);
        let GuestCommand { argv, env, workdir } = command;
        let start = ExecSpec { argv, env, workdir, ignore_image: true, ..ExecSpec::default() };
        sink.send(Frame::Start(start)).await.map_err(|_| GuestError::Broken)?;
        let credit = Semaphore::new(STDIN_WINDOW);
        let writing = write_input(sink, stdin, &credit);
        tokio::pin!(writing);
        let mut open = None;
        let mut stderr = Vec::new();
        loop {
            let frame = tokio::select! {
                writer = &mut writing, if open.is_none() => {
                    open = Some(writer.map_err(|_| GuestError::Broken)?);
                    continue;
                }
                frame = frames.next() => frame.and_then(Result::ok).ok_or(GuestError::Broken)?,
            };
            match frame {
                Frame::Stdout(bytes) => stdout(&bytes)?,
                Frame::Stderr(bytes) => {
                    let room = STDERR_MAX_LEN - stderr.len().min(STDERR_MAX_LEN);
                    stderr.extend_from_slice(&bytes[..bytes.len().min(room)]);
                }
                Frame::Credit(bytes) if credit.available_permits() + bytes as usize <= STDIN_WINDOW => {
                    credit.add_permits(bytes as usize);
                }
                Frame::Exit(exit) => return Ok(GuestOutput { exit, stderr }),
                _ => return Err(GuestError::Protocol.into()),
            }
        }
    }
}

/// Writes a command's whole input, no faster than it is given credit. The writer stays open: closing it would
/// end the command.
async fn write_input(
    mut sink: FramedWrite<WriteHalf<ExecUpgrade>, FrameCodec>,
    input: impl Stream<Item = Bytes> + Send,
    credit: &Semaphore,
) -> Result<FramedWrite<WriteHalf<ExecUpgrade>, FrameCodec>, FrameError> {
    let mut input = std::pin::pin!(input);
    while let Some(mut rest) = input.next().await {
        while !rest.is_empty() {
            let piece = rest.split_to(rest.len().min(PAYLOAD_MAX_LEN));
            // It is never closed.
            if let Ok(permits) = credit.acquire_many(piece.len() as u32).await {
                permits.forget();
            }
            sink.send(Frame::Stdin(piece)).await?;
        }
    }
    sink.send(Frame::Stdin(Bytes::new())).await?;
    Ok(sink)
}
