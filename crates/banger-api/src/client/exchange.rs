//! One request and its answer, over a connection that the next request may use again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;

use super::{Client, ClientError};
use crate::environment::{ENVIRONMENT_HEADER, of_this_process, to_header};
use crate::record::{STATE_HEADER, directory_id};
use crate::{ApiError, BUILD_HEADER, Build, ErrorCode};

type AnyError = Box<dyn std::error::Error + Send + Sync>;
pub(super) type AnyBody = UnsyncBoxBody<Bytes, AnyError>;
pub(super) type Message = Request<AnyBody>;
type Sender = SendRequest<AnyBody>;

/// How long a connection may lie before it is not used again. Its daemon may have gone meanwhile, and nothing is sent twice.
const IDLE_MAX: Duration = Duration::from_secs(1);

/// A connection whose last answer was read to its end, and when. Both ends look closely at who is at the other, so a new one
/// costs as much as a small request.
#[derive(Clone, Debug, Default)]
pub(super) struct IdleConnection(Arc<Mutex<Option<(Sender, Instant)>>>);

impl IdleConnection {
    async fn take(&self) -> Option<Sender> {
        let (mut sender, since) = self.0.lock().await.take()?;
        (since.elapsed() < IDLE_MAX && sender.ready().await.is_ok()).then_some(sender)
    }

    async fn keep(&self, sender: Sender) {
        *self.0.lock().await = Some((sender, Instant::now()));
    }
}

impl Client {
    /// Sends a message, and waits for the head of its answer. The connection is its own until all of that is read.
    pub(super) async fn exchange(
        &self,
        mut message: Message,
    ) -> Result<(Response<Incoming>, Sender), ClientError> {
        message.headers_mut().extend(self.caller.as_ref().clone());
        if let Some(state) = directory_id(&self.state) {
            message.headers_mut().insert(STATE_HEADER, value(&state)?);
        }
        let mut sender = match self.idle.take().await {
            Some(sender) => sender,
            None => self.open().await?,
        };
        let response = sender.send_request(message).await.map_err(ClientError::broken)?;
        let status = response.status();
        if status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok((response, sender));
        }
        // Ours has just left the socket, and another one has taken it.
        if status == StatusCode::MISDIRECTED_REQUEST {
            return Err(ClientError::broken("the bangerd of another state directory answered"));
        }
        let bytes = read(response).await?;
        let error = serde_json::from_slice(&bytes).unwrap_or_else(|_| {
            ApiError::new(ErrorCode::Failed, format!("bangerd answered with HTTP status {status}"))
        });
        Err(ClientError::Api(error))
    }

    /// The same, for an answer that is one JSON document. `request` names it in errors.
    pub(super) async fn exchange_whole<T: DeserializeOwned>(
        &self,
        request: String,
        message: Message,
    ) -> Result<T, ClientError> {
        let (response, sender) = self.exchange(message).await?;
        let bytes = read(response).await?;
        self.idle.keep(sender).await;
        serde_json::from_slice(&bytes).map_err(|source| ClientError::Answer { request, source })
    }

    async fn open(&self) -> Result<Sender, ClientError> {
        let stream = TokioIo::new(self.connect().await?);
        let (sender, connection) = handshake(stream).await.map_err(ClientError::broken)?;
        tokio::spawn(connection.with_upgrades());
        Ok(sender)
    }
}

/// What every request says of who makes it.
pub(super) fn describe_caller() -> Result<HeaderMap, ClientError> {
    let build = Build::current();
    Ok(HeaderMap::from_iter([
        (header::HOST, HeaderValue::from_static("banger")),
        (HeaderName::from_static(BUILD_HEADER), value(&format!("{} {}", build.version, build.commit))?),
        (HeaderName::from_static(ENVIRONMENT_HEADER), value(&to_header(of_this_process))?),
    ]))
}

fn value(text: &str) -> Result<HeaderValue, ClientError> {
    text.parse().map_err(ClientError::broken)
}

pub(super) fn into_body<B>(body: B) -> AnyBody
where
    B: Body<Data = Bytes, Error: Into<AnyError>> + Send + 'static,
{
    body.map_err(Into::into).boxed_unsync()
}

async fn read(response: Response<Incoming>) -> Result<Bytes, ClientError> {
    Ok(response.into_body().collect().await.map_err(ClientError::broken)?.to_bytes())
}
