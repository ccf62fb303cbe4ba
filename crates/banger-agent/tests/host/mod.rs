//! The host's side of a session, as small as can be: for tests and for driving a guest by hand.
#![allow(
    unreachable_pub,
    dead_code,
    reason = "each test and example that includes this file is a crate of its own and uses its part of it"
)]

use std::future::poll_fn;
use std::io;
use std::task::Poll;
use std::time::Duration;

use banger_guest_protocol::UPGRADE_TOKEN;
use banger_guest_protocol::frame::{ExecSpec, Exit, Frame, FrameCodec, PAYLOAD_MAX_LEN, STDIN_WINDOW};
use banger_guest_protocol::preamble::{AnswerScanner, FLUSH_LEN, Hello, SessionId, greeting};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio_util::codec::Framed;
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt, TokioAsyncReadCompatExt};
use yamux::{Config, Connection, Mode, Stream};

pub type Error = Box<dyn std::error::Error + Send + Sync>;
pub type ExecStream = Framed<TokioIo<hyper::upgrade::Upgraded>, FrameCodec>;

/// One session. Dropping it hangs up.
pub struct Host {
    pub hello: Hello,
    streams: mpsc::UnboundedSender<oneshot::Sender<Compat<Stream>>>,
    driver: tokio::task::JoinHandle<()>,
}

impl Drop for Host {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Host {
    pub async fn connect<C>(mut channel: C) -> Result<Self, Error>
    where
        C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let mut id = [0; 16];
        rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty())?;
        let session = SessionId::from_random(id);
        channel.write_all(&vec![0xFF; FLUSH_LEN]).await?;
        let mut scanner = AnswerScanner::new(&session);
        let hello = loop {
            channel.write_all(&greeting(&session)).await?;
            let search = async {
                loop {
                    let byte = channel.read_u8().await?;
                    if let Some(hello) = scanner.push(byte)? {
                        return Ok::<_, Error>(hello);
                    }
                }
            };
            if let Ok(found) = tokio::time::timeout(Duration::from_millis(250), search).await {
                break found?;
            }
        };
        let (streams, mut wanted) = mpsc::unbounded_channel::<oneshot::Sender<Compat<Stream>>>();
        let mut config = Config::default();
        config.set_split_send_size(FLUSH_LEN - 1024);
        let mut connection = Connection::new(channel.compat(), config, Mode::Client);
        let driver = tokio::spawn(async move {
            let mut waiting = None;
            poll_fn(|cx| {
                loop {
                    if waiting.is_none() {
                        match wanted.poll_recv(cx) {
                            Poll::Ready(Some(next)) => waiting = Some(next),
                            Poll::Ready(None) => return Poll::Ready(()),
                            Poll::Pending => {}
                        }
                    }
                    if waiting.is_some()
                        && let Poll::Ready(opened) = connection.poll_new_outbound(cx)
                    {
                        if let (Some(sender), Ok(stream)) = (waiting.take(), opened) {
                            let _ = sender.send(stream.compat());
                        }
                        continue;
                    }
                    match connection.poll_next_inbound(cx) {
                        Poll::Ready(Some(Ok(_))) => {}
                        Poll::Ready(_) => return Poll::Ready(()),
                        Poll::Pending => return Poll::Pending,
                    }
                }
            })
            .await;
        });
        Ok(Self { hello, streams, driver })
    }

    async fn sender(&self) -> Result<http1::SendRequest<Full<Bytes>>, Error> {
        let (opened, stream) = oneshot::channel();
        self.streams.send(opened).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream.await?)).await?;
        tokio::spawn(connection.with_upgrades());
        Ok(sender)
    }

    pub async fn request(
        &self,
        method: &str,
        path: &str,
        body: impl Into<Bytes>,
    ) -> Result<(StatusCode, Bytes), Error> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "guest")
            .body(Full::new(body.into()))?;
        let response = self.sender().await?.send_request(request).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }

    /// Starts a command; what the guest refuses is an error.
    pub async fn exec(&self, spec: ExecSpec) -> Result<ExecStream, Error> {
        let request = Request::get("/v1/exec")
            .header("host", "guest")
            .header("connection", "upgrade")
            .header("upgrade", UPGRADE_TOKEN)
            .body(Full::default())?;
        let response = self.sender().await?.send_request(request).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let body = response.into_body().collect().await?.to_bytes();
            return Err(String::from_utf8_lossy(&body).into_owned().into());
        }
        let mut stream = Framed::new(TokioIo::new(hyper::upgrade::on(response).await?), FrameCodec);
        stream.send(Frame::Start(spec)).await?;
        Ok(stream)
    }
}

/// Everything a command said.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Output {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub exit: Option<Exit>,
}

/// Feeds `input` to a command within the credit it gives, and collects what it says.
pub async fn talk<S>(stream: Framed<S, FrameCodec>, input: &[u8]) -> Result<Output, Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sink, mut frames) = stream.split();
    let window = tokio::sync::Semaphore::new(STDIN_WINDOW);
    let feeding = async {
        for chunk in input.chunks(PAYLOAD_MAX_LEN / 2) {
            window.acquire_many(chunk.len() as u32).await?.forget();
            sink.send(Frame::Stdin(Bytes::copy_from_slice(chunk))).await?;
        }
        sink.send(Frame::Stdin(Bytes::new())).await?;
        std::future::pending::<Result<(), Error>>().await
    };
    let listening = async {
        let mut output = Output::default();
        while let Some(frame) = frames.next().await.transpose()? {
            match frame {
                Frame::Stdout(bytes) => output.stdout.extend_from_slice(&bytes),
                Frame::Stderr(bytes) => output.stderr.extend_from_slice(&bytes),
                Frame::Credit(bytes) => window.add_permits(bytes as usize),
                Frame::Exit(exit) => output.exit = Some(exit),
                other => return Err(format!("unexpected {other:?}").into()),
            }
        }
        Ok(output)
    };
    tokio::pin!(feeding, listening);
    tokio::select! {
        output = &mut listening => output,
        // A command that ended takes no more input, and says so by its exit.
        Err(_) = &mut feeding => listening.await,
    }
}
