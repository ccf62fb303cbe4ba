//! A daemon that speaks the contract and keeps its VMs in memory. Its guests know a handful of commands.

mod guest;

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::{Path as Segment, Query, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use banger_api::daemon::{DaemonStatus, StopDaemon};
use banger_api::operation::Stage;
use banger_api::record::DaemonRecord;
use banger_api::vm::{CreateVm, Lifetime, ListVms, Vm};
use banger_api::{ApiError, Build, ErrorCode, Event};
use serde_json::json;
use tokio::sync::{mpsc, watch};

/// What a test sets up, and later looks at.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) vms: BTreeMap<String, Vm>,
    /// Requests that change something, as they came.
    pub(crate) log: Vec<String>,
    pub(crate) build: Option<Build>,
    /// Refuses to stop while idle is asked for.
    pub(crate) busy: bool,
    /// How long a create takes before the VM is there, in milliseconds.
    pub(crate) boot_ms: u64,
    /// Signals that a guest's `trap` command got.
    pub(crate) signals: Vec<String>,
}

pub(crate) type Shared = Arc<Mutex<World>>;

#[derive(Clone)]
struct App {
    world: Shared,
    stop: watch::Sender<bool>,
    cancelled: watch::Sender<bool>,
}

pub(crate) struct Daemon {
    pub(crate) world: Shared,
    pub(crate) runtime_dir: tempfile::TempDir,
    stop: watch::Sender<bool>,
    thread: Option<std::thread::JoinHandle<()>>,
    lock: Option<File>,
}

impl Daemon {
    pub(crate) fn start(world: World) -> Self {
        let runtime_dir = tempfile::tempdir().unwrap();
        let world = Arc::new(Mutex::new(world));
        let (stop, stopped) = watch::channel(false);
        let app = App { world: world.clone(), stop: stop.clone(), cancelled: watch::channel(false).0 };
        let socket = make_socket_dir(runtime_dir.path());
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        listener.set_nonblocking(true).unwrap();
        let lock = hold(runtime_dir.path(), &socket);
        let for_thread = lock.try_clone().unwrap();
        let thread = std::thread::spawn(move || {
            serve(listener, app, stopped);
            // As a process that ends.
            drop(std::fs::remove_file(socket));
            rustix::fs::flock(for_thread, rustix::fs::FlockOperation::Unlock).unwrap();
        });
        Self { world, runtime_dir, stop, thread: Some(thread), lock: Some(lock) }
    }

    /// Waits until the world is as `right` wants it.
    pub(crate) fn wait_for(&self, what: &str, right: impl Fn(&World) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !right(&self.world.lock().unwrap()) {
            assert!(
                Instant::now() < deadline,
                "waited too long: {what}; log: {:?}",
                self.world.lock().unwrap().log
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends it at once, connections and all; its socket stays behind.
    pub(crate) fn crash(mut self) -> tempfile::TempDir {
        self.end();
        std::mem::replace(&mut self.runtime_dir, tempfile::tempdir().unwrap())
    }

    fn end(&mut self) {
        self.stop.send_replace(true);
        self.lock = None;
        self.thread.take().map(std::thread::JoinHandle::join);
    }

    pub(crate) fn log(&self) -> Vec<String> {
        self.world.lock().unwrap().log.clone()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end();
    }
}

/// Holds the state directory of the home `home` as a daemon does that listens on `socket`.
pub(crate) fn hold(home: &Path, socket: &Path) -> File {
    let state = home.join(".local/state/banger");
    std::fs::create_dir_all(&state).unwrap();
    let lock = File::create(state.join(banger_api::record::LOCK)).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    let socket = Some(socket.as_os_str().to_owned().into());
    DaemonRecord { pid: 1, start_time_ticks: 0, socket }.write(&lock).unwrap();
    lock
}

pub(crate) fn make_socket_dir(runtime_dir: &Path) -> PathBuf {
    let dir = runtime_dir.join("banger");
    std::fs::DirBuilder::new().mode(0o700).recursive(true).create(&dir).unwrap();
    dir.join("bangerd.sock")
}

fn serve(listener: std::os::unix::net::UnixListener, app: App, mut stopped: watch::Receiver<bool>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let router = Router::new()
        .route("/v1/daemon", get(status))
        .route("/v1/daemon/stop", post(stop))
        .route("/v1/vms", get(list).post(create))
        .route("/v1/vms/{vm}", get(show).delete(remove))
        .route("/v1/vms/{vm}/stop", post(shut_down))
        .route("/v1/vms/{vm}/exec", get(exec))
        .route("/v1/vms/{vm}/logs", get(logs))
        .route("/v1/operations/{id}", delete(cancel))
        .with_state(app);
    runtime.block_on(async {
        let listener = tokio::net::UnixListener::from_std(listener).unwrap();
        tokio::select! {
            served = async { axum::serve(listener, router).await } => served.unwrap(),
            () = holds(&mut stopped) => {}
        }
    });
    // What guests still do is over now as well.
    runtime.shutdown_background();
}

fn refuse(error: ApiError) -> Response {
    let status = axum::http::StatusCode::from_u16(error.code.http_status()).unwrap();
    (status, Json(error)).into_response()
}

fn find(world: &World, name: &str) -> Result<Vm, ApiError> {
    let vm = world.vms.values().find(|vm| vm.spec.name == name || vm.id == name).cloned();
    vm.ok_or_else(|| {
        ApiError::new(ErrorCode::NotFound, format!("there is no VM {name}"))
            .with_hint("see them all: banger vm list --all")
    })
}

async fn status(State(app): State<App>) -> Response {
    let world = app.world.lock().unwrap();
    Json(DaemonStatus {
        pid: 1,
        build: world.build.clone().unwrap_or_else(Build::current),
        socket: "s".into(),
        log_path: "l".into(),
        state_dir: "d".into(),
        cache_dir: "c".into(),
        uptime_ms: 61_000,
        vms_total: world.vms.len(),
        vms_running: 0,
        sessions: 0,
        operations: vec![],
        leased_vms: vec![],
        environment: vec!["HOME".into()],
        limits: vec![],
        dns: None,
    })
    .into_response()
}

async fn stop(State(app): State<App>, Query(how): Query<StopDaemon>) -> Response {
    let mut world = app.world.lock().unwrap();
    world.log.push(format!("stop if_idle={}", how.if_idle));
    if how.if_idle && world.busy {
        return refuse(ApiError::new(ErrorCode::Refused, "1 command would be cut off"));
    }
    let stop = app.stop.clone();
    // After the answer.
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(50)).await;
        stop.send_replace(true);
    });
    Json(()).into_response()
}

async fn list(State(app): State<App>, Query(_): Query<ListVms>) -> Response {
    Json(app.world.lock().unwrap().vms.values().cloned().collect::<Vec<_>>()).into_response()
}

async fn show(State(app): State<App>, Segment(name): Segment<String>) -> Response {
    find(&app.world.lock().unwrap(), &name).map_or_else(refuse, |vm| Json(vm).into_response())
}

/// Sends events; the sender learns of a hang-up.
fn events() -> (mpsc::Sender<Event>, Response) {
    let (sender, receiver) = mpsc::channel::<Event>(8);
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
        let event = receiver.recv().await?;
        let line = serde_json::to_string(&event).unwrap() + "\n";
        Some((Ok::<_, std::convert::Infallible>(Bytes::from(line)), receiver))
    });
    (sender, Body::from_stream(stream).into_response())
}

async fn create(State(app): State<App>, Json(request): Json<CreateVm>) -> Response {
    static NEXT_ID: AtomicU64 = AtomicU64::new(1);
    let id = format!("{:012x}", NEXT_ID.fetch_add(1, Ordering::Relaxed));
    let name = request.name.clone().unwrap_or_else(|| "brave-otter".into());
    let mut world = app.world.lock().unwrap();
    world.log.push(format!("create {name} {:?}", request.lifetime));
    if world.vms.values().any(|vm| vm.spec.name == name) {
        return refuse(ApiError::new(ErrorCode::Refused, format!("there is a VM {name} already")));
    }
    let vm = vm(&id, &name, request.lifetime);
    let boot = Duration::from_millis(world.boot_ms);
    drop(world);
    let (sender, response) = events();
    let mut cancelled = app.cancelled.subscribe();
    tokio::spawn(async move {
        let _ = sender.send(Event::Accepted { operation: "op-1".into() }).await;
        let _ = sender.send(Event::Planned { spec: vm.spec.clone() }).await;
        let _ = sender.send(Event::Stage { stage: Stage::Boot, detail: String::new() }).await;
        let hung_up = sender.closed();
        let leased = request.lifetime == Lifetime::Leased;
        tokio::select! {
            () = tokio::time::sleep(boot) => {}
            () = holds(&mut cancelled) => {
                app.world.lock().unwrap().log.push("undone".into());
                let error = ApiError::new(ErrorCode::Cancelled, "creating the VM was called off");
                let _ = sender.send(Event::Failed { error }).await;
                return;
            }
            () = hung_up, if leased => return app.world.lock().unwrap().log.push("lease lost".into()),
        }
        app.world.lock().unwrap().vms.insert(id.clone(), vm.clone());
        let _ = sender.send(Event::Succeeded { result: serde_json::to_value(&vm).unwrap() }).await;
        if leased {
            sender.closed().await;
            let mut world = app.world.lock().unwrap();
            let gone = world.vms.remove(&id).is_none();
            world.log.push(format!("lease ended, vm {}", if gone { "was gone" } else { "removed" }));
        }
    });
    response
}

pub(crate) fn vm(id: &str, name: &str, lifetime: Lifetime) -> Vm {
    serde_json::from_value(json!({
        "id": id, "name": name, "image": "debian-trixie", "kernel": "debian-6.12", "vcpu": 2, "memory_mib": 1024,
        "disk_mib": 8192, "vmm": "qemu", "network": "user", "egress": ["internet"], "init": "auto", "state": "running", "lifetime": lifetime,
        "created_at_unix_ms": 0, "uptime_ms": 1000, "vmm_pid": 7, "acceleration": "tcg", "address": null,
        "guest_init": "/sbin/init", "disk_used_bytes": null, "last_error": null
    }))
    .unwrap()
}

async fn remove(State(app): State<App>, Segment(name): Segment<String>, request: Request) -> Response {
    let query = request.uri().query().unwrap_or_default().to_owned();
    let mut world = app.world.lock().unwrap();
    world.log.push(format!("delete {name} {query}"));
    finish(find(&world, &name).map(|vm| {
        world.vms.remove(&vm.id);
        json!(null)
    }))
}

async fn shut_down(State(app): State<App>, Segment(name): Segment<String>) -> Response {
    let mut world = app.world.lock().unwrap();
    world.log.push(format!("stop {name}"));
    let killed = name.ends_with('2');
    finish(find(&world, &name).map(|vm| json!({ "vm": vm, "killed": killed })))
}

fn finish(result: Result<serde_json::Value, ApiError>) -> Response {
    match result {
        Err(error) => refuse(error),
        Ok(result) => {
            let (sender, response) = events();
            tokio::spawn(async move { sender.send(Event::Succeeded { result }).await });
            response
        }
    }
}

async fn cancel(State(app): State<App>, Segment(id): Segment<String>) -> Response {
    app.world.lock().unwrap().log.push(format!("cancel {id}"));
    app.cancelled.send_replace(true);
    Json(()).into_response()
}

async fn logs(State(app): State<App>, Segment(name): Segment<String>) -> Response {
    match find(&app.world.lock().unwrap(), &name) {
        Ok(_) => "console\x1b[2J of the guest\n".into_response(),
        Err(error) => refuse(error),
    }
}

async fn exec(State(app): State<App>, Segment(name): Segment<String>, mut request: Request) -> Response {
    if let Err(error) = find(&app.world.lock().unwrap(), &name) {
        return refuse(error);
    }
    tokio::spawn(async move {
        let upgraded = hyper::upgrade::on(&mut request).await.unwrap();
        guest::serve(hyper_util::rt::TokioIo::new(upgraded), app.world).await;
    });
    let upgrade = [("connection", "upgrade"), ("upgrade", banger_api::UPGRADE_TOKEN)];
    (axum::http::StatusCode::SWITCHING_PROTOCOLS, upgrade).into_response()
}

/// Waits until it does.
async fn holds(flag: &mut watch::Receiver<bool>) {
    #[allow(clippy::disallowed_methods, reason = "the guard ends inside the statement")]
    drop(flag.wait_for(|set| *set).await);
}
