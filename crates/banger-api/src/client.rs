use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use http::{HeaderMap, Method, Request, Response, header};
use http_body_util::{Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::exchange::{IdleConnection, Message, describe_caller, into_body};
use crate::daemon::{DaemonStatus, StopDaemon};
use crate::egress::{ChangeEgress, Egress, EgressChanged, EgressSet};
use crate::files::{FileAt, FileStat, Pack, Unpack, Unpacked};
use crate::operation::Operation;
use crate::record::state_dir;
use crate::vm::{CreateVm, DeleteVm, KillVm, ListVms, StopVm, Vm, VmHealth, VmLogs};
use crate::workspace::{ExportWorkspace, PrepareWorkspace, Staleness, WorkspaceContents};
use crate::{ApiError, ErrorCode, UPGRADE_TOKEN};

mod connect;
mod deadline;
mod error;
mod exchange;
mod images;
mod kernels;
mod lost_found;
mod ports;
mod streams;

pub use error::ClientError;
pub use streams::{ByteStream, EventStream, ExecStream, Lines};

/// Talks to the daemon of a state directory. Calls one after the other share a connection; what is streamed,
/// and what is asked meanwhile, has its own.
///
/// A call waits for as long as the daemon is at it, and gives up on a daemon that does not answer at all
/// ([`ClientError::Silent`]).
#[derive(Clone, Debug)]
pub struct Client {
    state: PathBuf,
    /// How each request describes its caller: this process, now.
    caller: Arc<HeaderMap>,
    idle: IdleConnection,
}

impl Client {
    /// A client of the daemon of the state directory that the environment asks for. Does not connect yet.
    ///
    /// # Errors
    ///
    /// When there is no home directory.
    pub fn new() -> Result<Self, ClientError> {
        let state = state_dir().ok_or(ClientError::NoHome)?;
        Ok(Self { state, caller: Arc::new(describe_caller()?), idle: IdleConnection::default() })
    }

    /// The state directory whose daemon it talks to.
    pub fn state(&self) -> &Path {
        &self.state
    }

    pub async fn daemon_status(&self) -> Result<DaemonStatus, ClientError> {
        self.at_once(self.exchange_json(Method::GET, "/v1/daemon", &())).await
    }

    /// Asks the daemon to end; it has when it holds its state directory no longer.
    pub async fn daemon_stop(&self, how: StopDaemon) -> Result<(), ClientError> {
        let path = with_query("/v1/daemon/stop", &how);
        self.at_once(self.exchange_json(Method::POST, &path, &())).await
    }

    pub async fn vms(&self, which: ListVms) -> Result<Vec<Vm>, ClientError> {
        self.get("/v1/vms", &which).await
    }

    pub async fn vm(&self, vm: &str) -> Result<Vm, ClientError> {
        self.get(&path(&["vms", vm]), &()).await
    }

    /// Result: [`Vm`]. With [`crate::vm::Lifetime::Leased`], the VM lives as long as the returned stream is
    /// held.
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

    pub async fn vm_egress(&self, vm: &str) -> Result<Egress, ClientError> {
        self.get(&path(&["vms", vm, "egress"]), &()).await
    }

    pub async fn vm_change_egress(
        &self,
        vm: &str,
        change: &ChangeEgress,
    ) -> Result<EgressChanged, ClientError> {
        self.json(Method::POST, &path(&["vms", vm, "egress"]), change).await
    }

    pub async fn egress_sets(&self) -> Result<Vec<EgressSet>, ClientError> {
        self.get(&path(&["egress", "sets"]), &()).await
    }

    pub async fn vm_logs(&self, vm: &str, which: VmLogs) -> Result<ByteStream, ClientError> {
        let path = with_query(&path(&["vms", vm, "logs"]), &which);
        let response = self.send(Method::GET, &path, &(), None).await?;
        Ok(ByteStream { client: self.clone(), body: response.into_body() })
    }

    /// Opens a stream of [`crate::stream`] frames; the first one sent must be `Start`.
    pub async fn vm_exec(&self, vm: &str) -> Result<ExecStream, ClientError> {
        self.stream(&path(&["vms", vm, "exec"])).await
    }

    /// Opens the stream of an SSH server: frames as of a command, whose stdin and stdout are the connection.
    /// It starts at the first one, a `Start` without a command.
    pub async fn vm_ssh(&self, vm: &str) -> Result<ExecStream, ClientError> {
        self.stream(&path(&["vms", vm, "ssh"])).await
    }

    async fn stream(&self, path: &str) -> Result<ExecStream, ClientError> {
        let response = self.send(Method::GET, path, &(), Some(UPGRADE_TOKEN)).await?;
        let upgraded = hyper::upgrade::on(response).await.map_err(ClientError::broken)?;
        Ok(ExecStream(TokioIo::new(upgraded)))
    }

    /// What would be copied of a repository.
    pub async fn workspace_contents(
        &self,
        which: &PrepareWorkspace,
    ) -> Result<WorkspaceContents, ClientError> {
        self.json(Method::POST, "/v1/workspaces/contents", which).await
    }

    /// Result: [`Vm`].
    pub async fn workspace_prepare(
        &self,
        vm: &str,
        what: &PrepareWorkspace,
    ) -> Result<EventStream, ClientError> {
        self.operation(Method::POST, &path(&["vms", vm, "workspace"]), what).await
    }

    /// Result: [`Export`](crate::workspace::Export).
    pub async fn workspace_export(
        &self,
        vm: &str,
        how: &ExportWorkspace,
    ) -> Result<EventStream, ClientError> {
        self.operation(Method::POST, &path(&["vms", vm, "export"]), how).await
    }

    pub async fn workspace_staleness(&self, vm: &str) -> Result<Staleness, ClientError> {
        self.get(&path(&["vms", vm, "staleness"]), &()).await
    }

    /// A patch that an export has named; it can be fetched once.
    pub async fn patch(&self, id: &str) -> Result<ByteStream, ClientError> {
        let response = self.send(Method::GET, &path(&["patches", id]), &(), None).await?;
        Ok(ByteStream { client: self.clone(), body: response.into_body() })
    }

    /// Unpacks a tar stream in a VM. An error in it cuts the copy off.
    pub async fn vm_unpack<E>(
        &self,
        vm: &str,
        what: &Unpack,
        archive: impl Stream<Item = Result<Bytes, E>> + Send + 'static,
    ) -> Result<Unpacked, ClientError>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>> + 'static,
    {
        if vm.is_empty() {
            return Err(no_name());
        }
        let path = format!("{}?{}", path(&["vms", vm, "files"]), what.to_query());
        let message = Request::put(&path).header(header::CONTENT_TYPE, "application/x-tar");
        let body = StreamBody::new(archive.map(|piece| piece.map(Frame::data)));
        let message = message.body(into_body(body)).map_err(ClientError::broken)?;
        self.while_it_answers(self.exchange_whole(format!("PUT {path}"), message)).await
    }

    /// Packs a file or directory of a VM into a tar stream.
    pub async fn vm_pack(&self, vm: &str, what: &Pack) -> Result<ByteStream, ClientError> {
        let path = format!("{}?{}", path(&["vms", vm, "files"]), what.to_query());
        let response = self.send(Method::GET, &path, &(), None).await?;
        Ok(ByteStream { client: self.clone(), body: response.into_body() })
    }

    /// What is at a path in a VM.
    pub async fn vm_file_stat(&self, vm: &str, what: &FileAt) -> Result<FileStat, ClientError> {
        let path = format!("{}?{}", path(&["vms", vm, "files", "stat"]), what.to_query());
        self.json(Method::GET, &path, &()).await
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
        self.while_it_answers(self.exchange_json(method, path, body)).await
    }

    async fn exchange_json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ClientError> {
        let request = format!("{method} {path}");
        self.exchange_whole(request, message(method, path, body, None)?).await
    }

    async fn operation(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<EventStream, ClientError> {
        Ok(EventStream(self.lines(method, path, body).await?))
    }

    async fn lines<T>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<Lines<T>, ClientError> {
        let request = format!("{method} {path}");
        let response = self.send(method, path, body, None).await?;
        Ok(Lines::new(self.clone(), request, response.into_body()))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
        upgrade: Option<&str>,
    ) -> Result<Response<Incoming>, ClientError> {
        let answer = self.exchange(message(method, path, body, upgrade)?);
        Ok(self.while_it_answers(answer).await?.0)
    }
}

fn message(
    method: Method,
    path: &str,
    body: &impl Serialize,
    upgrade: Option<&str>,
) -> Result<Message, ClientError> {
    if has_empty_segment(path) {
        return Err(no_name());
    }
    let mut message = Request::builder().method(method).uri(path);
    if let Some(token) = upgrade {
        message = message.header(header::CONNECTION, "upgrade").header(header::UPGRADE, token);
    }
    let json = serde_json::to_vec(body).map_err(ClientError::broken)?;
    let body = if json == b"null" { Bytes::new() } else { Bytes::from(json) };
    if !body.is_empty() {
        message = message.header(header::CONTENT_TYPE, "application/json");
    }
    message.body(into_body(Full::new(body))).map_err(ClientError::broken)
}

/// What a segment keeps as it is; routes are matched as they are spelled.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

fn path(segments: &[&str]) -> String {
    let mut path = String::from("/v1");
    for segment in segments {
        path.push('/');
        path.extend(utf8_percent_encode(segment, SEGMENT));
    }
    path
}

fn no_name() -> ClientError {
    ClientError::Api(ApiError::new(ErrorCode::Usage, "the name of a VM, an image or a kernel is empty"))
}

/// A request with an empty name would be one for something else.
fn has_empty_segment(path: &str) -> bool {
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    path.split('/').skip(1).any(str::is_empty)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::LogSource;

    #[test]
    fn a_reference_cannot_leave_its_path_segment() {
        assert_eq!(path(&["vms", "../images?x=1"]), "/v1/vms/%2E%2E%2Fimages%3Fx%3D1");
        assert_eq!(path(&["lost-found", "vm-0_1"]), "/v1/lost-found/vm-0_1");
    }

    #[test]
    fn an_empty_reference_is_no_request_for_something_else() {
        for segments in [&["vms", ""][..], &["vms", "", "start"], &["images", ""]] {
            assert!(has_empty_segment(&format!("{}?force=true", path(segments))), "{segments:?}");
        }
        assert!(!has_empty_segment("/v1/vms/a/files?path=//x//"));
        let refused = message(Method::DELETE, &path(&["vms", ""]), &(), None);
        assert!(matches!(refused, Err(ClientError::Api(error)) if error.code == ErrorCode::Usage));
    }

    #[test]
    fn queries_are_spelled_out() {
        let which = VmLogs { source: LogSource::Vmm, follow: true };
        let query = with_query("/v1/vms/x/logs", &which);
        assert!(query.contains("source=vmm") && query.contains("follow=true"), "{query}");
        assert_eq!(with_query("/v1/daemon", &()), "/v1/daemon");
    }
}
