use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use banger_guest_protocol::UPGRADE_TOKEN;
use banger_guest_protocol::messages::{self, Configure, Configured, Health, Shutdown};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

use super::GuestError;
use super::serial::STREAMS_MAX;
use super::session::{Pipe, Session};
use crate::channel::AgentChannel;
use crate::paths::VmDir;

/// How long a reachable agent may take to answer a small request, on an emulated machine whose host is busy.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// How long mounting the root and the rest of a guest's configuration may take, likewise.
pub(super) const CONFIGURE_LIMIT: Duration = Duration::from_secs(90);
/// Largest JSON answer that is believed, in bytes.
const ANSWER_MAX_LEN: usize = 1024 * 1024;

/// Connections to the guest's ports at once. A session has room for so many streams, and the rest is for
/// everything else: one stream too many would end the whole session.
const CONNECTIONS_MAX: usize = STREAMS_MAX - 112;

/// A raw stream of a command's frames, both ways.
pub type ExecUpgrade = TokioIo<hyper::upgrade::Upgraded>;

/// A raw stream of a connection's pieces, both ways.
pub type ForwardUpgrade = TokioIo<hyper::upgrade::Upgraded>;

/// A running VM's agent. Clones share one session.
#[derive(Clone)]
pub struct Guest {
    dir: VmDir,
    channel: AgentChannel,
    /// Set while its machine is paused.
    stands_still: Arc<AtomicBool>,
    session: Arc<Mutex<Option<Arc<Session>>>>,
    connections: Arc<Semaphore>,
}

impl Guest {
    /// The agent of a VM that is known to have booted.
    pub fn of(dir: VmDir, channel: AgentChannel, stands_still: Arc<AtomicBool>) -> Self {
        Self::with_session(dir, channel, stands_still, None)
    }

    /// Waits for the hello of a VM that was just started.
    pub(crate) async fn greet(
        dir: VmDir,
        channel: AgentChannel,
        stands_still: Arc<AtomicBool>,
        limit: Duration,
    ) -> Result<Self, GuestError> {
        let connect = Session::connect(&dir, channel, Pipe::Fresh, stands_still.clone());
        let (session, hello) =
            tokio::time::timeout(limit, connect).await.map_err(|_| GuestError::NoHello { limit })??;
        tracing::info!(dir = %dir.path().display(), ?hello, "agent said hello");
        Ok(Self::with_session(dir, channel, stands_still, Some(Arc::new(session))))
    }

    fn with_session(
        dir: VmDir,
        channel: AgentChannel,
        stands_still: Arc<AtomicBool>,
        session: Option<Arc<Session>>,
    ) -> Self {
        let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        Self { dir, channel, stands_still, session: Arc::new(Mutex::new(session)), connections }
    }

    /// How the agent is, and how long it took to say so.
    pub async fn health(&self) -> Result<(Health, Duration), GuestError> {
        let request = "health";
        let ask = async {
            // A session may have to be made first; that is not the round trip people want to know.
            self.session().await?;
            let start = Instant::now();
            let health = self.json(Method::GET, request, "/v1/health", &(), ANSWER_LIMIT).await?;
            Ok((health, start.elapsed()))
        };
        with_limit(request, ANSWER_LIMIT, ask).await
    }

    pub(crate) async fn configure(&self, configure: &Configure) -> Result<Configured, GuestError> {
        self.json(Method::POST, "configure", "/v1/configure", configure, CONFIGURE_LIMIT).await
    }

    /// Asks for a clean power-off within `grace`; the VMM's process ends when it is done.
    pub(crate) async fn shutdown(&self, grace: Duration) -> Result<(), GuestError> {
        let request = "shutdown";
        let how = Shutdown { reboot: false, grace_ms: grace.as_millis() as u64 };
        let response = self.send(Method::POST, request, "/v1/shutdown", &how, None);
        with_limit(request, ANSWER_LIMIT, response).await?;
        Ok(())
    }

    /// Opens the stream of a command.
    pub async fn exec(&self) -> Result<ExecUpgrade, GuestError> {
        self.upgrade("exec", "/v1/exec").await
    }

    /// Opens the stream of an SSH server, which starts at the first frame.
    pub async fn ssh(&self) -> Result<ExecUpgrade, GuestError> {
        self.upgrade("ssh", "/v1/ssh").await
    }

    /// Waits until there is room for one more connection to the guest's ports.
    pub async fn connection_permit(&self) -> Option<OwnedSemaphorePermit> {
        // None only where it is closed, which it never is.
        self.connections.clone().acquire_owned().await.ok()
    }

    /// Opens the stream of a connection to a TCP port of the guest's: see
    /// [`banger_guest_protocol::forward`].
    pub async fn forward(&self, port: u16) -> Result<ForwardUpgrade, GuestError> {
        self.upgrade("forward", &format!("/v1/forward?port={port}")).await
    }

    async fn upgrade(
        &self,
        request: &'static str,
        path: &str,
    ) -> Result<TokioIo<hyper::upgrade::Upgraded>, GuestError> {
        let response = self.send(Method::GET, request, path, &(), Some(UPGRADE_TOKEN));
        let response = with_limit(request, ANSWER_LIMIT, response).await?;
        let upgraded =
            hyper::upgrade::on(response).await.map_err(|source| GuestError::Http { request, source })?;
        Ok(TokioIo::new(upgraded))
    }

    async fn session(&self) -> Result<Arc<Session>, GuestError> {
        let limit = ANSWER_LIMIT;
        // The limit counts the turn as well: behind others who wait for a guest that hangs, nobody waits
        // longer than they.
        tokio::time::timeout(limit, self.connected()).await.map_err(|_| GuestError::NoHello { limit })?
    }

    /// The session there is, or a new one.
    async fn connected(&self) -> Result<Arc<Session>, GuestError> {
        let mut current = self.session.lock().await;
        if let Some(session) = current.as_ref().filter(|session| session.is_alive()) {
            return Ok(session.clone());
        }
        let stands_still = self.stands_still.clone();
        let (session, _) = Session::connect(&self.dir, self.channel, Pipe::LeftOvers, stands_still).await?;
        let session = Arc::new(session);
        *current = Some(session.clone());
        Ok(session)
    }

    pub(super) async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        request: &'static str,
        path: &str,
        body: &impl Serialize,
        limit: Duration,
    ) -> Result<T, GuestError> {
        let exchange = async {
            let response = self.send(method, request, path, body, None).await?;
            read_json(request, response).await
        };
        with_limit(request, limit, exchange).await
    }

    /// Sends a request. One that changes nothing is sent again when the session turns out to be lost.
    pub(super) async fn send(
        &self,
        method: Method,
        request: &'static str,
        path: &str,
        body: &impl Serialize,
        upgrade: Option<&str>,
    ) -> Result<Response<Incoming>, GuestError> {
        let repeatable = method == Method::GET;
        match self.send_once(method.clone(), request, path, body, upgrade).await {
            Err(GuestError::Broken | GuestError::Http { .. }) if repeatable => {
                self.send_once(method, request, path, body, upgrade).await
            }
            result => result,
        }
    }

    async fn send_once(
        &self,
        method: Method,
        request: &'static str,
        path: &str,
        body: &impl Serialize,
        upgrade: Option<&str>,
    ) -> Result<Response<Incoming>, GuestError> {
        let json = serde_json::to_vec(body).map_err(|source| GuestError::Encode { request, source })?;
        let body = Full::new(if json == b"null" { Bytes::new() } else { Bytes::from(json) });
        let mut message =
            Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, "application/json");
        if let Some(token) = upgrade {
            message = message.header(header::CONNECTION, "upgrade").header(header::UPGRADE, token);
        }
        let message = message.body(body).map_err(|source| GuestError::Message { request, source })?;
        self.submit(request, message).await
    }

    /// Sends a message on a stream of its own, once.
    pub(super) async fn submit<B>(
        &self,
        request: &'static str,
        mut message: Request<B>,
    ) -> Result<Response<Incoming>, GuestError>
    where
        B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
    {
        let failed = |source| GuestError::Http { request, source };
        let stream = self.session().await?.open_stream().await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
        tokio::spawn(connection.with_upgrades());
        message.headers_mut().insert(header::HOST, http::HeaderValue::from_static("guest"));
        let response = sender.send_request(message).await.map_err(failed)?;
        if response.status().is_success() || response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response);
        }
        let status = response.status();
        let bytes = read_body(request, response).await?;
        Err(match serde_json::from_slice::<messages::GuestError>(&bytes) {
            Ok(error) => error.into(),
            Err(_) => GuestError::refused(format!("HTTP status {status} for {request}")),
        })
    }
}

pub(super) async fn with_limit<T>(
    request: &'static str,
    limit: Duration,
    work: impl Future<Output = Result<T, GuestError>>,
) -> Result<T, GuestError> {
    tokio::time::timeout(limit, work).await.map_err(|_| GuestError::Timeout { request, limit })?
}

pub(super) async fn read_json<T: DeserializeOwned>(
    request: &'static str,
    response: Response<Incoming>,
) -> Result<T, GuestError> {
    let bytes = read_body(request, response).await?;
    serde_json::from_slice(&bytes).map_err(|source| GuestError::Body { request, source })
}

/// Reads an answer of bounded size: the guest is not trusted.
async fn read_body(request: &'static str, response: Response<Incoming>) -> Result<Bytes, GuestError> {
    let body = Limited::new(response.into_body(), ANSWER_MAX_LEN).collect().await;
    let refuse = |_| GuestError::refused(format!("the answer to {request} broke off"));
    body.map(|body| body.to_bytes()).map_err(refuse)
}
