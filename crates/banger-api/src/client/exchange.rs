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

/// How long a connection may lie before it is not used again. Its daemon may have gone meanwhile, and nothing
/// is sent twice.
const IDLE_MAX: Duration = Duration::from_secs(1);

/// A connection whose last answer was read to its end, and when. Both ends look closely at who is at the
/// other, so a new one costs as much as a small request.
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
    /// Sends a message, and waits for the head of its answer. The connection is its own until all of that is
    /// read.
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

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use rustix::fs::{FlockOperation, flock};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{UnixListener, UnixStream};

    use super::*;
    use crate::record::{DaemonRecord, LOCK};

    /// A state directory, held, with a server that answers each request with an empty list.
    struct Host {
        dir: tempfile::TempDir,
        _lock: File,
        connections: Arc<AtomicUsize>,
    }

    impl Host {
        /// `answers`: after how many the server hangs up.
        fn new(answers: usize) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let lock = File::create(dir.path().join(LOCK)).unwrap();
            flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
            let socket = dir.path().join("s");
            let listener = UnixListener::bind(&socket).unwrap();
            let record =
                DaemonRecord { pid: 1, start_time_ticks: 0, socket: Some(socket.into_os_string().into()) };
            record.write(&lock).unwrap();
            let connections = Arc::new(AtomicUsize::new(0));
            let counted = connections.clone();
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    counted.fetch_add(1, Ordering::Relaxed);
                    tokio::spawn(serve(stream, answers));
                }
            });
            Self { dir, _lock: lock, connections }
        }

        fn client(&self) -> Client {
            let caller = Arc::new(describe_caller().unwrap());
            Client { state: self.dir.path().to_owned(), caller, idle: IdleConnection::default() }
        }

        fn connections(&self) -> usize {
            self.connections.load(Ordering::Relaxed)
        }
    }

    async fn serve(mut stream: UnixStream, answers: usize) {
        let mut request = [0; 4096];
        for _ in 0..answers {
            match stream.read(&mut request).await {
                Ok(1..) => {}
                _ => return,
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]").await.unwrap();
        }
    }

    #[tokio::test]
    async fn calls_in_turn_share_a_connection_and_calls_at_once_do_not() {
        let host = Host::new(usize::MAX);
        let client = host.client();
        for _ in 0..3 {
            assert!(client.operations().await.unwrap().is_empty());
        }
        assert_eq!(host.connections(), 1);
        let (one, other) = tokio::join!(client.operations(), client.operations());
        assert!(one.is_ok() && other.is_ok());
        assert_eq!(host.connections(), 2);
    }

    #[tokio::test]
    async fn a_server_that_hangs_up_in_between_is_reached_anew() {
        let host = Host::new(1);
        let client = host.client();
        for n in 1..=3 {
            assert!(client.operations().await.unwrap().is_empty());
            assert_eq!(host.connections(), n);
            // Until its end has arrived here.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
