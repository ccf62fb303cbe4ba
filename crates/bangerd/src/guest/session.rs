use std::future::poll_fn;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::task::Poll;
use std::time::Duration;

use banger_guest_protocol::PROTOCOL_VERSION;
use banger_guest_protocol::preamble::{AnswerScanner, FLUSH_LEN, Hello, SessionId, greeting};
use rustix::fs::{Mode, OFlags};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt as _};

use super::GuestError;

/// How often the greeting is repeated until it is answered.
const GREETING_INTERVAL: Duration = Duration::from_millis(250);

/// Enough for two windows that make 128 MiB/s out of a round trip of a few milliseconds.
const RECEIVE_WINDOW_BYTES: usize = 64 * 1024 * 1024;

/// As many as the agent takes. yamux wants a window of 256 KiB for each.
const STREAMS_MAX: usize = 256;

/// Largest frame body that is sent: less than [`FLUSH_LEN`], and what the guest's port takes in one go.
const SEND_BYTES: usize = 31 * 1024;
const _: () = assert!(SEND_BYTES < FLUSH_LEN);

type Transport = Compat<BufReader<UnixStream>>;
type StreamRequest = oneshot::Sender<yamux::Stream>;

/// What may be in the pipe when a session begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pipe {
    /// Nothing: the VM was just started.
    Fresh,
    /// The rest of a session that broke off.
    LeftOvers,
}

/// A multiplexed session with an agent; it ends when this is dropped.
pub(super) struct Session {
    pub(super) hello: Hello,
    requests: mpsc::Sender<StreamRequest>,
}

impl Session {
    /// Connects to the agent behind `socket` in `dir` and waits for its hello, however long that takes.
    pub(super) async fn connect(dir: &Path, socket: &str, pipe: Pipe) -> Result<Self, GuestError> {
        let mut stream = BufReader::new(connect_in(dir, socket).await.map_err(GuestError::Connect)?);
        let hello = shake_hands(&mut stream, pipe).await?;
        if hello.protocol != PROTOCOL_VERSION {
            return Err(GuestError::Version { agent: hello.protocol, agent_build: hello.agent_build });
        }
        let mut config = yamux::Config::default();
        config.set_max_num_streams(STREAMS_MAX);
        config.set_max_connection_receive_window(Some(RECEIVE_WINDOW_BYTES));
        config.set_split_send_size(SEND_BYTES);
        let connection = yamux::Connection::new(stream.compat(), config, yamux::Mode::Client);
        let (requests, receiver) = mpsc::channel(16);
        tokio::spawn(drive(connection, receiver));
        Ok(Self { hello, requests })
    }

    pub(super) fn is_alive(&self) -> bool {
        !self.requests.is_closed()
    }

    pub(super) async fn open_stream(&self) -> Result<Compat<yamux::Stream>, GuestError> {
        use tokio_util::compat::FuturesAsyncReadCompatExt as _;
        let (reply, stream) = oneshot::channel();
        self.requests.send(reply).await.map_err(|_| GuestError::Broken)?;
        stream.await.map(|stream| stream.compat()).map_err(|_| GuestError::Broken)
    }
}

/// Connects to `dir`/`socket`. A Unix address holds 108 bytes and a state directory may be deeper than that, so the
/// directory goes by its descriptor.
async fn connect_in(dir: &Path, socket: &str) -> std::io::Result<UnixStream> {
    let dir = rustix::fs::open(dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    UnixStream::connect(format!("/proc/self/fd/{}/{socket}", dir.as_raw_fd())).await
}

async fn shake_hands(stream: &mut BufReader<UnixStream>, pipe: Pipe) -> Result<Hello, GuestError> {
    let mut random = [0; 16];
    crate::identity::fill_random(&mut random);
    let session = SessionId::from_random(random);
    if pipe == Pipe::LeftOvers {
        stream.write_all(&[0xFF; FLUSH_LEN]).await.map_err(GuestError::Connect)?;
    }
    let greeting = greeting(&session);
    let mut scanner = AnswerScanner::new(&session);
    let mut again = tokio::time::interval(GREETING_INTERVAL);
    again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            byte = stream.read_u8() => {
                let byte = byte.map_err(|_| GuestError::Closed)?;
                if let Some(hello) = scanner.push(byte)? {
                    return Ok(hello);
                }
            }
            _ = again.tick() => stream.write_all(&greeting).await.map_err(GuestError::Connect)?,
        }
    }
}

/// Moves the session's bytes until it breaks or nobody holds it any more.
async fn drive(mut connection: yamux::Connection<Transport>, mut requests: mpsc::Receiver<StreamRequest>) {
    let mut waiting: Option<StreamRequest> = None;
    let outcome = poll_fn(|cx| {
        loop {
            if waiting.is_none() {
                match requests.poll_recv(cx) {
                    Poll::Ready(Some(request)) => waiting = Some(request),
                    Poll::Ready(None) => return Poll::Ready(Ok(())),
                    Poll::Pending => {}
                }
            }
            if let Some(request) = waiting.take() {
                match connection.poll_new_outbound(cx) {
                    Poll::Ready(Ok(stream)) => {
                        // A requester that has gone away just drops the stream.
                        let _ = request.send(stream);
                        continue;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => waiting = Some(request),
                }
            }
            match connection.poll_next_inbound(cx) {
                // The guest has nothing to ask of the host.
                Poll::Ready(Some(Ok(stream))) => drop(stream),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
    if let Err(error) = outcome {
        tracing::debug!(%error, "an agent session ended");
    }
}
