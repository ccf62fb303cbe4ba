//! A session over a virtio-serial port: one stream of bytes, which is found in step by a greeting and then
//! multiplexed.

use std::future::poll_fn;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use banger_guest_protocol::preamble::{AnswerScanner, FLUSH_LEN, Hello, SessionId, greeting};
use banger_host::unix_socket::connect_in;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader, ReadBuf};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio_util::compat::{Compat, TokioAsyncReadCompatExt as _};

use super::GuestError;
use super::session::Pipe;

/// How often the greeting is repeated until it is answered.
const GREETING_INTERVAL: Duration = Duration::from_millis(250);

/// The least that the multiplexer takes: it grows what one stream gets as the round trip asks for.
const RECEIVE_WINDOW_BYTES: usize = STREAMS_MAX * 256 * 1024;

/// As many as the agent takes. yamux wants a window of 256 KiB for each.
pub(super) const STREAMS_MAX: usize = 512;

/// Largest frame body that is sent: less than [`FLUSH_LEN`], and what the guest's port takes in one go.
const SEND_BYTES: usize = 31 * 1024;
const _: () = assert!(SEND_BYTES < FLUSH_LEN);

/// How often somebody looks whether the guest has been heard of; its multiplexer answers a ping every 10 s.
const PULSE_INTERVAL: Duration = Duration::from_secs(5);

/// After so many of them without a byte the session is lost. An emulated guest on a busy host needs seconds.
const PULSES_MISSED_MAX: u32 = 12;

type Transport = Compat<Heard<BufReader<UnixStream>>>;
type StreamRequest = oneshot::Sender<yamux::Stream>;

/// A multiplexed session with an agent; it ends when this is dropped.
pub(super) struct SerialSession {
    requests: mpsc::Sender<StreamRequest>,
}

impl SerialSession {
    /// Connects to the agent behind `socket` in `dir` and waits for its hello, however long that takes.
    ///
    /// A guest whose machine `stands_still` may be silent for as long as that lasts.
    pub(super) async fn connect(
        dir: &Path,
        socket: &str,
        pipe: Pipe,
        stands_still: Arc<AtomicBool>,
    ) -> Result<(Self, Hello), GuestError> {
        let mut stream = BufReader::new(connect_in(dir, socket).await.map_err(GuestError::Connect)?);
        let hello = shake_hands(&mut stream, pipe).await?;
        let mut config = yamux::Config::default();
        config.set_max_num_streams(STREAMS_MAX);
        config.set_max_connection_receive_window(Some(RECEIVE_WINDOW_BYTES));
        config.set_split_send_size(SEND_BYTES);
        let heard = Arc::new(AtomicBool::new(false));
        let transport = Heard { inner: stream, flag: heard.clone() };
        let connection = yamux::Connection::new(transport.compat(), config, yamux::Mode::Client);
        let (requests, receiver) = mpsc::channel(16);
        tokio::spawn(drive(connection, receiver, Pulse::new(heard, stands_still, PULSE_INTERVAL)));
        Ok((Self { requests }, hello))
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

/// Moves the session's bytes until it breaks, the guest falls silent, or nobody holds it any more.
async fn drive(
    mut connection: yamux::Connection<Transport>,
    mut requests: mpsc::Receiver<StreamRequest>,
    mut pulse: Pulse,
) {
    let mut waiting: Option<StreamRequest> = None;
    let outcome = poll_fn(|cx| {
        if pulse.poll_lost(cx).is_ready() {
            tracing::warn!("the guest's agent gave no sign of life for {} s", Pulse::LIMIT.as_secs());
            return Poll::Ready(Ok(()));
        }
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

/// Tells a guest that is busy from one that is not there any more: a virtio port does not hang up when its
/// agent dies.
///
/// It counts looks and not seconds, because a daemon that was stopped itself for a while has heard nothing
/// either.
struct Pulse {
    looks: tokio::time::Interval,
    heard: Arc<AtomicBool>,
    stands_still: Arc<AtomicBool>,
    missed: u32,
}

impl Pulse {
    const LIMIT: Duration = Duration::from_secs(PULSE_INTERVAL.as_secs() * PULSES_MISSED_MAX as u64);

    fn new(heard: Arc<AtomicBool>, stands_still: Arc<AtomicBool>, interval: Duration) -> Self {
        let mut looks = tokio::time::interval(interval);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        Self { looks, heard, stands_still, missed: 0 }
    }

    /// Ready when the guest has been silent for [`Self::LIMIT`]. Being polled for it also lets the
    /// multiplexer send its ping.
    fn poll_lost(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.looks.poll_tick(cx).is_ready() {
            let heard = self.heard.swap(false, Ordering::Relaxed);
            let excused = self.stands_still.load(Ordering::Relaxed);
            self.missed = if heard || excused { 0 } else { self.missed + 1 };
            if self.missed >= PULSES_MISSED_MAX {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }
}

/// A transport that notes when something arrives.
struct Heard<T> {
    inner: T,
    flag: Arc<AtomicBool>,
}

impl<T: AsyncRead + Unpin> AsyncRead for Heard<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let outcome = Pin::new(&mut self.inner).poll_read(cx, buf);
        if outcome.is_ready() {
            self.flag.store(true, Ordering::Relaxed);
        }
        outcome
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Heard<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_silence_ends_a_session() {
        let (heard, stands_still) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let mut pulse = Pulse::new(heard.clone(), stands_still.clone(), Duration::from_millis(10));
        let mut lost = tokio::spawn(async move { poll_fn(|cx| pulse.poll_lost(cx)).await });
        for _ in 0..3 * PULSES_MISSED_MAX {
            heard.store(true, Ordering::Relaxed);
            assert!(tokio::time::timeout(Duration::from_millis(10), &mut lost).await.is_err());
        }
        stands_still.store(true, Ordering::Relaxed);
        let limit = Duration::from_millis(10) * 3 * PULSES_MISSED_MAX;
        assert!(tokio::time::timeout(limit, &mut lost).await.is_err());
        stands_still.store(false, Ordering::Relaxed);
        lost.await.unwrap();
    }
}
