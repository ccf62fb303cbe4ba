//! Commands of the host's: one upgraded stream each.
//!
//! A command ends for its client when it exited and all that it wrote is on its way; what it leaves behind in
//! the background neither holds that up nor dies of it: see [`output`].
//!
//! When the client goes away first (or breaks the protocol), the command is ended: see [`process`].

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use banger_guest_protocol::frame::{ExecSpec, Exit, Frame, FrameCodec, PAYLOAD_MAX_LEN, STDIN_WINDOW};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::io::{AsyncRead, AsyncWrite, ReadHalf};
use tokio::sync::{mpsc, watch};
use tokio_util::codec::FramedRead;

use crate::async_file::AsyncFile;

pub mod command;
mod defaults;
mod end_of_input;
mod obstacle;
mod output;
mod process;
mod pump;
mod shell;

pub use defaults::ImageDefaults;
use output::{Output, Readers};
use process::Running;

/// Frames on their way to the client; more would only add memory, not speed.
const OUTBOX_FRAMES: usize = 4;

/// Counts the commands that run, can end them all, and knows what the image has to say about them.
#[derive(Debug)]
pub struct ExecSessions {
    running: AtomicU32,
    ending: watch::Sender<bool>,
    image: OnceLock<ImageDefaults>,
}

impl Default for ExecSessions {
    fn default() -> Self {
        Self { running: AtomicU32::new(0), ending: watch::Sender::new(false), image: OnceLock::new() }
    }
}

impl ExecSessions {
    /// How many commands run now.
    pub fn count(&self) -> u32 {
        self.running.load(Ordering::Relaxed)
    }

    /// Says what commands get from now on. A guest learns that once.
    pub fn set_image_defaults(&self, image: ImageDefaults) {
        // Fails where it is known already: the first one stays.
        let _known = self.image.set(image);
    }

    fn image_defaults(&self) -> &ImageDefaults {
        static NONE: ImageDefaults = ImageDefaults::none();
        self.image.get().unwrap_or(&NONE)
    }

    /// Ends every command, and every one that comes later at once.
    pub fn end_all(&self) {
        self.ending.send_replace(true);
    }
}

/// Keeps the count right however a session ends.
struct Counted<'a>(&'a ExecSessions);

impl<'a> Counted<'a> {
    fn new(sessions: &'a ExecSessions) -> Self {
        sessions.running.fetch_add(1, Ordering::Relaxed);
        Self(sessions)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Runs one command for the client on `stream`, from its `Start` frame to the `Exit` frame: the one in that
/// frame, or `own` if there is one.
pub async fn serve<S>(stream: S, sessions: &ExecSessions, own: Option<ExecSpec>)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (reader, writer) = tokio::io::split(stream);
    let mut frames = FramedRead::with_capacity(reader, FrameCodec, 2 * PAYLOAD_MAX_LEN);
    // Whoever does not begin with Start has nothing to be told.
    let Some(Ok(Frame::Start(spec))) = frames.next().await else { return };
    let spec = own.unwrap_or(spec);
    let _counted = Counted::new(sessions);
    let (outbox, frames_out) = mpsc::channel(OUTBOX_FRAMES);
    let writing = tokio::spawn(pump::send_frames(writer, frames_out));
    if let Some(exit) = run(&spec, frames, &outbox, sessions).await {
        // Fails only when the client is gone.
        let _delivered = outbox.send(Frame::Exit(exit)).await;
    }
    drop(outbox);
    // It only fails by a panic, which the console has heard of.
    let _finished = writing.await;
}

/// Also when there is nobody any more to ask.
async fn asked_to_end(ending: &mut watch::Receiver<bool>) {
    #[allow(clippy::disallowed_methods, reason = "the guard ends inside the statement")]
    drop(ending.wait_for(|ending| *ending).await);
}

/// Runs the command; none when the client is not there any more to hear how it ended.
async fn run<S: AsyncRead>(
    spec: &ExecSpec,
    frames: FramedRead<ReadHalf<S>, FrameCodec>,
    outbox: &mpsc::Sender<Frame>,
    sessions: &ExecSessions,
) -> Option<Exit> {
    let mut ending = sessions.ending.subscribe();
    let mut running = match Running::start(spec, sessions.image_defaults()) {
        Ok(running) => running,
        Err(error) => return Some(error.exit()),
    };
    let stdin = Stdin::default();
    let (stdin_bytes, stdin_inbox) = mpsc::unbounded_channel();
    let control = running.control();
    let terminal = running.terminal.is_some();
    let mut output = Output::start(running.stdout.take(), running.stderr.take(), terminal, outbox);
    let readers = output.readers();
    let input = running.stdin.take();
    let finished = tokio::select! {
        biased;
        // Output first: it holds what the command said before it ended.
        exit = async {
            let exit = running.wait().await;
            output.finish().await;
            exit
        } => Finished::ByItself(exit),
        () = pump::stdin(input, terminal, stdin_inbox, outbox, &stdin) => Finished::ClientGone,
        () = follow_client(frames, stdin_bytes, &stdin, &control, &readers, outbox) => Finished::ClientGone,
        () = outbox.closed() => Finished::ClientGone,
        () = asked_to_end(&mut ending) => Finished::Shutdown,
    };
    // It holds the terminal open.
    drop(control);
    match finished {
        Finished::ByItself(exit) => Some(exit),
        Finished::ClientGone => {
            // First, for what a command says about its end must not cut that short.
            output.abandon().await;
            running.end().await;
            None
        }
        Finished::Shutdown => {
            let exit = running.end().await;
            tokio::select! {
                () = output.finish() => {}
                () = outbox.closed() => {}
            }
            Some(exit)
        }
    }
}

enum Finished {
    ByItself(Exit),
    ClientGone,
    Shutdown,
}

/// How many bytes of stdin are between the client and the command.
#[derive(Default)]
struct Stdin {
    pending: AtomicUsize,
}

impl Stdin {
    /// Takes bytes from the client; false when it sends more than it may.
    fn accept(&self, len: usize) -> bool {
        self.pending.fetch_add(len, Ordering::Relaxed) + len <= STDIN_WINDOW
    }

    fn taken(&self, len: usize) {
        self.pending.fetch_sub(len, Ordering::Relaxed);
    }
}

/// Does what the client says, until it leaves or breaks the protocol.
async fn follow_client<S: AsyncRead>(
    mut frames: FramedRead<ReadHalf<S>, FrameCodec>,
    stdin_bytes: mpsc::UnboundedSender<Bytes>,
    stdin: &Stdin,
    control: &process::Control,
    readers: &Readers,
    outbox: &mpsc::Sender<Frame>,
) {
    while let Some(Ok(frame)) = frames.next().await {
        match frame {
            Frame::Stdin(bytes) if stdin.accept(bytes.len()) => {
                // Fails only after end of file, when the bytes have nowhere to go.
                let _taken = stdin_bytes.send(bytes);
            }
            Frame::Resize(size) => control.resize(size),
            Frame::Signal(signal) => {
                control.signal(signal);
                // Where there is no room for it, there are frames on the way that tell as well that we live.
                let _told = outbox.try_send(Frame::Credit(0));
            }
            Frame::Stdout(bytes) if bytes.is_empty() && control.has_pipes() => readers.stdout.notify_one(),
            Frame::Stderr(bytes) if bytes.is_empty() && control.has_pipes() => readers.stderr.notify_one(),
            _ => return,
        }
    }
}

type Stream = Option<Arc<AsyncFile>>;
