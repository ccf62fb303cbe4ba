//! A VMM for tests. Its process does nothing; the guest is played by the test's own process, for as long as
//! the other one lives.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use banger_api::vm::{Acceleration, Pause};
use banger_guest_protocol::messages::{
    Configured, DiskSelector, GuestError, GuestErrorKind, Health, Phase, Unpack, Unpacked,
};
use banger_guest_protocol::{PROTOCOL_VERSION, VSOCK_PORT};
use banger_host::process::{DetachedSpec, ProcessHandle, Signal, open_log, spawn_detached};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

use super::{Launched, Limits, Machine, Monitor, MonitorError, Vmm, VmmError, VmmKind, marker};
use crate::channel::AgentChannel;
use crate::paths::VmDir;

/// What its monitor says: something that no host of a test would be taken for.
pub(crate) const ACCELERATION: Acceleration = Acceleration::Kvm;

/// A guest's agent as far as a start needs one.
pub(crate) struct PlayedAgent {
    phase: Mutex<Phase>,
    takes_files: bool,
    pub(crate) configured: AtomicU32,
    /// How often it was given the files of `[[file_sync]]`, whose archive begins at the root.
    pub(crate) synced: AtomicU32,
}

impl PlayedAgent {
    pub(crate) fn new(takes_files: bool) -> Arc<Self> {
        Arc::new(Self {
            phase: Mutex::new(Phase::AwaitingConfigure),
            takes_files,
            configured: AtomicU32::default(),
            synced: AtomicU32::default(),
        })
    }

    fn enter(&self, phase: Phase) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }

    fn health(&self) -> Health {
        Health {
            protocol: PROTOCOL_VERSION,
            agent_build: "test".into(),
            phase: *self.phase.lock().unwrap_or_else(PoisonError::into_inner),
            kernel_release: "6".into(),
            uptime_ms: 1,
            exec_sessions: 0,
            init: Some("/sbin/init".into()),
        }
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<String>, hyper::Error> {
        let (head, body) = request.into_parts();
        body.collect().await?;
        let refusal = |status, kind| {
            let error = GuestError { message: "no".into(), causes: vec![], kind };
            (status, serde_json::to_string(&error))
        };
        let (status, body) = match head.uri.path() {
            "/v1/health" => (200, serde_json::to_string(&self.health())),
            "/v1/configure" => {
                self.configured.fetch_add(1, Ordering::Relaxed);
                self.enter(Phase::Ready);
                let init = self.health().init;
                (200, serde_json::to_string(&Configured { init, stages: vec![], warnings: vec![] }))
            }
            "/v1/files/unpack" if self.takes_files => {
                let query = head.uri.query().unwrap_or_default();
                let into_root = Unpack::from_query(query).is_ok_and(|unpack| unpack.dir.as_bytes() == b"/");
                self.synced.fetch_add(u32::from(into_root), Ordering::Relaxed);
                (200, serde_json::to_string(&Unpacked::default()))
            }
            "/v1/files/unpack" => refusal(409, GuestErrorKind::Refused),
            "/v1/shutdown" => {
                self.enter(Phase::ShuttingDown);
                (202, Ok(String::new()))
            }
            _ => refusal(404, GuestErrorKind::NotFound),
        };
        Ok(Response::builder().status(status).body(body.unwrap()).unwrap())
    }

    /// Answers the requests on one stream.
    pub(crate) async fn serve(self: Arc<Self>, stream: impl AsyncRead + AsyncWrite + Unpin) {
        let service = hyper::service::service_fn(move |request| self.clone().answer(request));
        let served =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        // A host that hangs up is none of its business.
        let _ = served.await;
    }

    fn is_shutting_down(&self) -> bool {
        self.health().phase == Phase::ShuttingDown
    }
}

/// The VMM, of one daemon after the other.
pub(crate) struct Fake {
    /// The guest that was launched last.
    guest: Mutex<Arc<PlayedAgent>>,
    pub(crate) launches: AtomicU32,
    /// Guests say nothing from now on.
    pub(crate) is_mute: AtomicBool,
    /// Guests do not shut down when they are asked to.
    pub(crate) stays_up: AtomicBool,
}

impl Fake {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            guest: Mutex::new(PlayedAgent::new(true)),
            launches: AtomicU32::default(),
            is_mute: AtomicBool::default(),
            stays_up: AtomicBool::default(),
        })
    }

    pub(crate) fn guest(&self) -> Arc<PlayedAgent> {
        self.guest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn start(&self, machine: &Machine, dir: &VmDir) -> Result<Launched, VmmError> {
        // All that it is to run must be found where it says.
        for file in machine.disks.iter().map(|disk| disk.file).chain([machine.kernel.vmlinux]) {
            let path = dir.file(file);
            std::fs::metadata(&path).map_err(|source| VmmError::SharedFile { path, source })?;
        }
        let path = dir.file(VmDir::AGENT_SOCKET);
        let listener = UnixListener::bind(&path).map_err(|source| VmmError::Listen { path, source })?;
        let process = spawn_detached(DetachedSpec {
            program: self.find()?,
            args: vec!["-c".into(), "kill -STOP $$".into(), marker(&machine.id).into()],
            cwd: dir.path().into(),
            env: Vec::new(),
            stdin: None,
            stdout: open_log(&dir.file(VmDir::CONSOLE_LOG)).map_err(VmmError::Logs)?,
            stderr: open_log(&dir.file(VmDir::VMM_LOG)).map_err(VmmError::Logs)?,
            passed: Vec::new(),
        });
        let process = process.map_err(VmmError::Spawn)?;
        self.launches.fetch_add(1, Ordering::Relaxed);
        let agent = PlayedAgent::new(true);
        *self.guest.lock().unwrap_or_else(PoisonError::into_inner) = agent.clone();
        let stays_up = self.stays_up.load(Ordering::Relaxed);
        let playing = play(listener, agent, process.clone(), stays_up);
        match self.is_mute.load(Ordering::Relaxed) {
            // Its socket is there, and nobody behind it takes a connection.
            true => drop(tokio::spawn(async move {
                std::future::pending::<()>().await;
                drop(playing)
            })),
            false => drop(tokio::spawn(playing)),
        }
        let disks = machine.disks.iter().map(|disk| (disk.role, DiskSelector::ReadOnly)).collect();
        Ok(Launched { process, log_keeper: None, disks })
    }
}

/// The guest, until its process ends; one that was shut down ends it.
async fn play(listener: UnixListener, agent: Arc<PlayedAgent>, process: ProcessHandle, stays_up: bool) {
    let streams = async {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(connection(stream, agent.clone(), process.clone(), stays_up));
        }
    };
    tokio::select! {
        () = streams => {}
        _ = process.wait_exit() => {}
    }
}

async fn connection(mut stream: UnixStream, agent: Arc<PlayedAgent>, process: ProcessHandle, stays_up: bool) {
    let request = format!("CONNECT {VSOCK_PORT}\n");
    let mut asked = vec![0; request.len()];
    if stream.read_exact(&mut asked).await.is_err() || asked != request.as_bytes() {
        return;
    }
    if stream.write_all(b"OK 1073741824\n").await.is_err() {
        return;
    }
    tokio::select! {
        () = agent.clone().serve(stream) => {}
        _ = process.wait_exit() => {}
    }
    if agent.is_shutting_down() && !stays_up {
        process.signal(Signal::KILL).unwrap();
    }
}

impl Vmm for Fake {
    fn kind(&self) -> VmmKind {
        VmmKind::Fake
    }

    fn find(&self) -> Result<PathBuf, VmmError> {
        Ok("/bin/sh".into())
    }

    fn limits(&self) -> Limits {
        Limits { vcpus_max: 1 }
    }

    fn channel(&self) -> AgentChannel {
        AgentChannel::Vsock { socket: VmDir::AGENT_SOCKET, port: VSOCK_PORT }
    }

    fn launch<'a>(
        &'a self,
        machine: &'a Machine,
        dir: &'a VmDir,
    ) -> BoxFuture<'a, Result<Launched, VmmError>> {
        async { self.start(machine, dir) }.boxed()
    }

    fn attach<'a>(&'a self, _: &'a VmDir) -> BoxFuture<'a, Result<Box<dyn Monitor>, MonitorError>> {
        async { Ok(Box::new(FakeMonitor) as Box<dyn Monitor>) }.boxed()
    }
}

struct FakeMonitor;

impl Monitor for FakeMonitor {
    fn pause_reason(&mut self) -> BoxFuture<'_, Result<Option<Pause>, MonitorError>> {
        std::future::ready(Ok(None)).boxed()
    }

    fn changed(&mut self) -> BoxFuture<'_, Result<(), MonitorError>> {
        std::future::pending().boxed()
    }

    fn resume(&mut self) -> BoxFuture<'_, Result<(), MonitorError>> {
        std::future::ready(Ok(())).boxed()
    }

    fn acceleration(&mut self) -> BoxFuture<'_, Result<Acceleration, MonitorError>> {
        std::future::ready(Ok(ACCELERATION)).boxed()
    }
}
