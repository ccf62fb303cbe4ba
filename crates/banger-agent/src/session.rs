//! One session with the host: greeting, hello, then HTTP requests on multiplexed streams.
//!
//! A transport hands its streams to [`serve_stream`]. The virtio-serial port ([`serve_port`]) makes many
//! streams of one pipe with yamux; a transport that has streams of its own (vsock: one connection is one
//! stream) calls `serve_stream` directly.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use banger_guest_protocol::preamble::{self, GREETING_LEN, GreetingScanner};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, BufWriter, ReadBuf,
};
use tokio_util::compat::{FuturesAsyncReadCompatExt, TokioAsyncReadCompatExt};
use yamux::{Config, Connection, ConnectionError, FrameDecodeError, Mode};

use crate::agent::Agent;
use crate::port::WRITE_MAX_LEN;
use crate::{api, console};

// A host's half-read frame of ours ends within a flush.
const _: () = assert!(WRITE_MAX_LEN - YAMUX_HEADER_LEN < preamble::FLUSH_LEN);

/// A page is what the kernel's port driver gives at most for one read.
const READ_BUFFER_LEN: usize = 4096;
const YAMUX_HEADER_LEN: usize = 12;
const STREAMS_MAX: usize = 512;
const RECEIVE_WINDOW_MAX: usize = 128 * 1024 * 1024;

/// Answering a host that does not read would otherwise block for ever.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEnd {
    /// There was no host to begin with.
    HostAbsent,
    /// The host hung up, or the next one already begins.
    HungUp,
}

/// Why a session ended other than by the host hanging up.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error("the channel to the host broke")]
    Channel(#[source] io::Error),
    #[error("the host does not read")]
    Answer(#[source] tokio::time::error::Elapsed),
    #[error("the host sent what is no valid frame")]
    Multiplexer(#[source] ConnectionError),
}

/// Serves one session on the port: from the search for a greeting until the host hangs up or loses step.
///
/// # Errors
///
/// How the session broke; that the host left is no error. The port stays usable for the next session either
/// way.
pub async fn serve_port<P>(port: &mut P, agent: &Arc<Agent>) -> Result<SessionEnd, SessionError>
where
    P: AsyncRead + AsyncWrite + Send + Unpin,
{
    let buffered = BufWriter::with_capacity(WRITE_MAX_LEN, port);
    let mut channel = BufReader::with_capacity(READ_BUFFER_LEN, buffered);
    if !shake_hands(&mut channel, agent).await? {
        return Ok(SessionEnd::HostAbsent);
    }
    let mut config = Config::default();
    config
        .set_max_num_streams(STREAMS_MAX)
        .set_max_connection_receive_window(Some(RECEIVE_WINDOW_MAX))
        .set_read_after_close(false)
        // Header and body then go to the port in one write.
        .set_split_send_size(WRITE_MAX_LEN - YAMUX_HEADER_LEN);
    let mut connection = Connection::new(SkipGreetings::new(channel).compat(), config, Mode::Server);
    loop {
        match poll_fn(|cx| connection.poll_next_inbound(cx)).await {
            Some(Ok(stream)) => {
                let agent = Arc::clone(agent);
                tokio::spawn(async move { serve_stream(stream.compat(), agent).await });
            }
            // What does not decode is the next host's flush: this one left without our seeing it.
            None
            | Some(Err(ConnectionError::Closed | ConnectionError::Decode(FrameDecodeError::Header(_)))) => {
                return Ok(SessionEnd::HungUp);
            }
            Some(Err(error)) => return Err(SessionError::Multiplexer(error)),
        }
    }
}

/// Serves HTTP on one stream until the peer closes it.
pub async fn serve_stream<S>(stream: S, agent: Arc<Agent>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = service_fn(move |request| {
        let agent = Arc::clone(&agent);
        async move { Ok::<_, std::convert::Infallible>(api::answer(request, &agent).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    // A stream that is cut off is how the host cancels; anything else is worth a line.
    if let Err(error) = served
        && !error.is_incomplete_message()
        && !error.is_closed()
        && error.is_parse()
    {
        console::say(format_args!("bad request: {}", console::one_line(&error)));
    }
}

/// Waits for a greeting and answers it. False: there is no host.
async fn shake_hands<C>(channel: &mut C, agent: &Agent) -> Result<bool, SessionError>
where
    C: AsyncBufRead + AsyncWrite + Unpin,
{
    let mut scanner = GreetingScanner::default();
    let mut flushed = false;
    let session = loop {
        let bytes = channel.fill_buf().await.map_err(SessionError::Channel)?;
        if bytes.is_empty() {
            return Ok(false);
        }
        let found = bytes.iter().enumerate().find_map(|(at, byte)| Some((at + 1, scanner.push(*byte)?)));
        let available = bytes.len();
        match found {
            Some((used, session)) => {
                channel.consume(used);
                break session;
            }
            None => {
                let lost_session = bytes.iter().copied().any(preamble::starts_frame);
                channel.consume(available);
                if lost_session && !flushed {
                    flushed = true;
                    send(channel, &[0xFF; preamble::FLUSH_LEN]).await?;
                }
            }
        }
    };
    send(channel, &preamble::answer(&session, &agent.hello())).await?;
    Ok(true)
}

async fn send<C: AsyncWrite + Unpin>(channel: &mut C, bytes: &[u8]) -> Result<(), SessionError> {
    let send = async {
        channel.write_all(bytes).await?;
        channel.flush().await
    };
    let sent = tokio::time::timeout(ANSWER_TIMEOUT, send).await.map_err(SessionError::Answer)?;
    sent.map_err(SessionError::Channel)
}

/// Drops repeated greetings that directly follow the one that was answered, then passes everything through.
struct SkipGreetings<C> {
    inner: C,
    /// Bytes of a repeated greeting still to drop; none once a multiplexer frame was seen.
    skipping: Option<usize>,
}

impl<C> SkipGreetings<C> {
    fn new(inner: C) -> Self {
        Self { inner, skipping: Some(0) }
    }
}

impl<C: AsyncBufRead + Unpin> AsyncRead for SkipGreetings<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while let Some(left) = self.skipping {
            let bytes = ready!(Pin::new(&mut self.inner).poll_fill_buf(cx))?;
            let Some(first) = bytes.first() else { return Poll::Ready(Ok(())) };
            if left == 0 && !preamble::starts_greeting(*first) {
                self.skipping = None;
                break;
            }
            let left = if left == 0 { GREETING_LEN } else { left };
            let dropped = left.min(bytes.len());
            Pin::new(&mut self.inner).consume(dropped);
            self.skipping = Some(left - dropped);
        }
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for SkipGreetings<C> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
