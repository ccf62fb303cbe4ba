use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;

use crate::daemon::{DaemonStatus, StopDaemon};
use crate::image::{Image, ListImages, PullImage};
use crate::kernel::{Kernel, ListKernels, PullKernel};
use crate::operation::Operation;
use crate::socket::{SocketDirError, private_runtime_dir};
use crate::vm::{CreateVm, DeleteVm, KillVm, ListVms, StopVm, Vm, VmHealth, VmLogs};
use crate::{ApiError, BUILD_HEADER, Build, ErrorCode, Event, UPGRADE_TOKEN};

/// Why a request got no proper answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("the directory of bangerd's socket cannot be used")]
    SocketDir(#[from] SocketDirError),
    /// Nobody listens: there is no socket, or a dead daemon left it behind.
    #[error("bangerd is not running")]
    NotRunning { socket: PathBuf },
    #[error("could not connect to bangerd at {}", socket.display())]
    Connect { socket: PathBuf, source: std::io::Error },
    /// The daemon's own answer.
    #[error(transparent)]
    Api(ApiError),
    #[error("the connection to bangerd broke")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("bangerd's answer to {request} could not be understood")]
    Answer { request: String, source: serde_json::Error },
    #[error("bangerd ended its answer to {request} too early")]
    Truncated { request: String },
}

impl ClientError {
    fn broken(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Broken(error.into())
    }
}

/// Talks to the user's daemon. Every call makes its own connection: on a Unix socket that costs some ten microseconds.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    build: Build,
}

impl Client {
    /// A client of the daemon of this user. Does not connect yet.
    ///
    /// # Errors
    ///
    /// When the socket's directory is not private to the user.
    pub fn new() -> Result<Self, ClientError> {
        Ok(Self { socket: private_runtime_dir()?.join("bangerd.sock"), build: Build::current() })
    }

    pub async fn daemon_status(&self) -> Result<DaemonStatus, ClientError> {
        self.get("/v1/daemon", &()).await
    }

    /// Asks the daemon to end; it has when the connection is refused.
    pub async fn daemon_stop(&self, how: StopDaemon) -> Result<(), ClientError> {
        self.json(Method::POST, &with_query("/v1/daemon/stop", &how), &()).await
    }

    pub async fn vms(&self, which: ListVms) -> Result<Vec<Vm>, ClientError> {
        self.get("/v1/vms", &which).await
    }

    pub async fn vm(&self, vm: &str) -> Result<Vm, ClientError> {
        self.get(&path(&["vms", vm]), &()).await
    }

    /// Result: [`Vm`]. With [`crate::vm::Lifetime::Leased`], the VM lives as long as the returned stream is held.
    pub async fn vm_create(&self, vm: &CreateVm) -> Result<EventStream, ClientError> {
        self.operation(Method::POST, "/v1/vms", vm).await
    }

    /// Result: [`Vm`].
    pub async fn vm_start(&self, vm: &str) -> Result<EventStream, ClientError> {
        self.operation(Method::POST, &path(&["vms", vm, "start"]), &()).await
    }

    /// Result: [`crate::vm::Stopped`].
    pub async fn vm_stop(&self, vm: &str, how: StopVm) -> Result<EventStream, ClientError> {
        self.operation(Method::POST, &path(&["vms", vm, "stop"]), &how).await
    }

    /// Result: [`Vm`].
    pub async fn vm_kill(&self, vm: &str, how: &KillVm) -> Result<EventStream, ClientError> {
        self.operation(Method::POST, &path(&["vms", vm, "kill"]), how).await
    }

    /// Result: null.
    pub async fn vm_delete(&self, vm: &str, how: DeleteVm) -> Result<EventStream, ClientError> {
        self.operation(Method::DELETE, &with_query(&path(&["vms", vm]), &how), &()).await
    }

    pub async fn vm_health(&self, vm: &str) -> Result<VmHealth, ClientError> {
        self.get(&path(&["vms", vm, "health"]), &()).await
    }

    pub async fn vm_logs(&self, vm: &str, which: VmLogs) -> Result<LogStream, ClientError> {
        let path = with_query(&path(&["vms", vm, "logs"]), &which);
        let response = self.send(Method::GET, &path, &(), None).await?;
        Ok(LogStream { body: response.into_body() })
    }

    /// Opens a stream of [`crate::stream`] frames; the first one sent must be `Start`.
    pub async fn vm_exec(&self, vm: &str) -> Result<ExecStream, ClientError> {
        let path = path(&["vms", vm, "exec"]);
        let response = self.send(Method::GET, &path, &(), Some(UPGRADE_TOKEN)).await?;
        let upgraded = hyper::upgrade::on(response).await.map_err(ClientError::broken)?;
        Ok(ExecStream(TokioIo::new(upgraded)))
    }

    pub async fn images(&self, which: ListImages) -> Result<Vec<Image>, ClientError> {
        self.get("/v1/images", &which).await
    }

    pub async fn image(&self, name: &str) -> Result<Image, ClientError> {
        self.get(&path(&["images", name]), &()).await
    }

    /// Result: [`Image`].
    pub async fn image_pull(&self, which: &PullImage) -> Result<EventStream, ClientError> {
        self.operation(Method::POST, "/v1/images/pull", which).await
    }

    pub async fn image_delete(&self, name: &str) -> Result<(), ClientError> {
        self.json(Method::DELETE, &path(&["images", name]), &()).await
    }

    pub async fn kernels(&self, which: ListKernels) -> Result<Vec<Kernel>, ClientError> {
        self.get("/v1/kernels", &which).await
    }

    pub async fn kernel(&self, name: &str) -> Result<Kernel, ClientError> {
        self.get(&path(&["kernels", name]), &()).await
    }

    /// Result: [`Kernel`].
    pub async fn kernel_pull(&self, which: &PullKernel) -> Result<EventStream, ClientError> {
        self.operation(Method::POST, "/v1/kernels/pull", which).await
    }

    pub async fn kernel_delete(&self, name: &str) -> Result<(), ClientError> {
        self.json(Method::DELETE, &path(&["kernels", name]), &()).await
    }

    pub async fn operations(&self) -> Result<Vec<Operation>, ClientError> {
        self.get("/v1/operations", &()).await
    }

    /// Calls an operation off; what it did is undone.
    pub async fn operation_cancel(&self, id: &str) -> Result<(), ClientError> {
        self.json(Method::DELETE, &path(&["operations", id]), &()).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, query: &impl Serialize) -> Result<T, ClientError> {
        self.json(Method::GET, &with_query(path, query), &()).await
    }

    async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let request = format!("{method} {path}");
        let response = self.send(method, path, body, None).await?;
        let bytes = response.into_body().collect().await.map_err(ClientError::broken)?.to_bytes();
        serde_json::from_slice(&bytes).map_err(|source| ClientError::Answer { request, source })
    }

    async fn operation(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<EventStream, ClientError> {
        let request = format!("{method} {path}");
        let response = self.send(method, path, body, None).await?;
        Ok(EventStream { request, body: response.into_body(), buffer: BytesMut::new() })
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
        upgrade: Option<&str>,
    ) -> Result<Response<Incoming>, ClientError> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused => {
                ClientError::NotRunning { socket: self.socket.clone() }
            }
            _ => ClientError::Connect { socket: self.socket.clone(), source },
        })?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(ClientError::broken)?;
        tokio::spawn(connection.with_upgrades());
        let build = format!("{} {}", self.build.version, self.build.commit);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "banger")
            .header(BUILD_HEADER, build);
        if let Some(token) = upgrade {
            request = request.header(header::CONNECTION, "upgrade").header(header::UPGRADE, token);
        }
        let json = serde_json::to_vec(body).map_err(ClientError::broken)?;
        let body = if json == b"null" { Bytes::new() } else { Bytes::from(json) };
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request.body(Full::new(body)).map_err(ClientError::broken)?;
        let response = sender.send_request(request).await.map_err(ClientError::broken)?;
        let status = response.status();
        if status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response);
        }
        let bytes = response.into_body().collect().await.map_err(ClientError::broken)?.to_bytes();
        let error = serde_json::from_slice(&bytes).unwrap_or_else(|_| {
            ApiError::new(ErrorCode::Failed, format!("bangerd answered with HTTP status {status}"))
        });
        Err(ClientError::Api(error))
    }
}

fn path(segments: &[&str]) -> String {
    let mut path = String::from("/v1");
    for segment in segments {
        path.push('/');
        path.extend(utf8_percent_encode(segment, NON_ALPHANUMERIC));
    }
    path
}

/// Appends the fields of `query` (flags and plain words) to `path`.
fn with_query(path: &str, query: &impl Serialize) -> String {
    let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(query) else { return path.into() };
    let pairs: Vec<String> = fields
        .iter()
        .map(|(key, value)| match value {
            serde_json::Value::String(word) => {
                format!("{key}={}", utf8_percent_encode(word, NON_ALPHANUMERIC))
            }
            other => format!("{key}={other}"),
        })
        .collect();
    if pairs.is_empty() { path.into() } else { format!("{path}?{}", pairs.join("&")) }
}

/// The events of an operation, as they come.
pub struct EventStream {
    request: String,
    body: Incoming,
    buffer: BytesMut,
}

impl EventStream {
    /// The next event; none when the daemon closed the stream.
    ///
    /// # Errors
    ///
    /// When the connection breaks or a line is no event.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientError> {
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
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(ClientError::broken(error)),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
            }
        }
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
                    let request = self.request.clone();
                    return serde_json::from_value(result)
                        .map_err(|source| ClientError::Answer { request, source });
                }
                Event::Failed { error } => return Err(ClientError::Api(error)),
                _ => {}
            }
        }
        Err(ClientError::Truncated { request: self.request.clone() })
    }
}

/// A log's bytes, as they come.
pub struct LogStream {
    body: Incoming,
}

impl LogStream {
    /// The next piece; none at the end.
    ///
    /// # Errors
    ///
    /// When the connection breaks.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        while let Some(frame) = self.body.frame().await {
            if let Ok(data) = frame.map_err(ClientError::broken)?.into_data() {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }
}

/// The raw two-way stream of a command; wrap it in `tokio_util::codec::Framed` with [`crate::stream::FrameCodec`].
pub struct ExecStream(TokioIo<hyper::upgrade::Upgraded>);

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::LogSource;

    #[test]
    fn a_reference_cannot_leave_its_path_segment() {
        assert_eq!(path(&["vms", "../images?x=1"]), "/v1/vms/%2E%2E%2Fimages%3Fx%3D1");
    }

    #[test]
    fn queries_are_spelled_out() {
        let which = VmLogs { source: LogSource::Vmm, follow: true };
        let query = with_query("/v1/vms/x/logs", &which);
        assert!(query.contains("source=vmm") && query.contains("follow=true"), "{query}");
        assert_eq!(with_query("/v1/daemon", &()), "/v1/daemon");
    }
}
