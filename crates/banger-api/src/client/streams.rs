use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Client, ClientError};
use crate::Event;

/// An answer of JSON objects, one a line, as they come.
pub struct Lines<T> {
    client: Client,
    request: String,
    body: Incoming,
    buffer: BytesMut,
    what: PhantomData<fn() -> T>,
}

impl<T: DeserializeOwned> Lines<T> {
    /// The next one; none when the daemon closed the stream.
    ///
    /// # Errors
    ///
    /// When the connection breaks or a line cannot be understood.
    pub async fn next(&mut self) -> Result<Option<T>, ClientError> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end + 1);
                let line = line.trim_ascii();
                if line.is_empty() {
                    continue;
                }
                let request = self.request.clone();
                return serde_json::from_slice(line)
                    .map(Some)
                    .map_err(|source| ClientError::Answer { request, source });
            }
            match piece(&self.client, &mut self.body).await? {
                None => return Ok(None),
                Some(data) => self.buffer.extend_from_slice(&data),
            }
        }
    }
}

impl<T> Lines<T> {
    pub(super) fn new(client: Client, request: String, body: Incoming) -> Self {
        Self { client, request, body, buffer: BytesMut::new(), what: PhantomData }
    }
}

/// The events of an operation, as they come.
pub struct EventStream(pub(super) Lines<Event>);

impl EventStream {
    /// The next event; none when the daemon closed the stream.
    ///
    /// # Errors
    ///
    /// When the connection breaks or a line is no event.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        self.0.next().await
    }

    /// Follows the operation to its end, showing every event on the way to `observe`.
    ///
    /// # Errors
    ///
    /// [`ClientError::Api`] when the operation failed; otherwise as [`Self::next`].
    pub async fn finish<T: DeserializeOwned>(
        &mut self,
        mut observe: impl FnMut(&Event),
    ) -> Result<T, ClientError> {
        while let Some(event) = self.next().await? {
            observe(&event);
            match event {
                Event::Succeeded { result } => {
                    let request = self.0.request.clone();
                    return serde_json::from_value(result)
                        .map_err(|source| ClientError::Answer { request, source });
                }
                Event::Failed { error } => return Err(ClientError::Api(error)),
                _ => {}
            }
        }
        Err(ClientError::Truncated { request: self.0.request.clone() })
    }
}

/// The bytes of a log or an archive, as they come.
pub struct ByteStream {
    pub(super) client: Client,
    pub(super) body: Incoming,
}

impl ByteStream {
    /// The next piece; none at the end.
    ///
    /// # Errors
    ///
    /// When the connection breaks.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        piece(&self.client, &mut self.body).await
    }
}

/// The next piece of an answer, for as long as the daemon answers others.
async fn piece(client: &Client, body: &mut Incoming) -> Result<Option<Bytes>, ClientError> {
    let next = async {
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame.map_err(ClientError::broken)?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    };
    client.while_it_answers(next).await
}

/// The raw two-way stream of a command; wrap it in `tokio_util::codec::Framed` with
/// [`crate::stream::FrameCodec`].
pub struct ExecStream(pub(super) TokioIo<hyper::upgrade::Upgraded>);

impl AsyncRead for ExecStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for ExecStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
