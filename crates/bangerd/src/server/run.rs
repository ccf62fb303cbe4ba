use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::access::{OwnUserListener, as_the_caller, not_done_there, nothing_there, same_build};
use super::router;
use super::state::{AppState, Sessions};
use super::workspace::Patches;
use crate::catalog::Catalog;
use crate::config::{Config, HostSize};
use crate::download::{Downloads, Web};
use crate::image::{ImageError, ImageService};
use crate::kernel::{AgentError, KernelError, KernelService, agent_path};
use crate::operation::{Operations, Reporter};
use crate::paths::Paths;
use crate::store::{Store, StoreError};
use crate::vm::{Services, VmError, Vms};
use crate::vmm::{Accelerator, Qemu};

/// How long connections may take to end once the daemon is to stop.
const STOP_LIMIT: Duration = Duration::from_secs(3);

/// Why the daemon does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("another bangerd runs already (it holds {})", lock.display())]
    Running { lock: PathBuf },
    #[error("could not {action} {}", path.display())]
    File { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error("could not find out what program this is")]
    Program(#[source] std::io::Error),
    #[error("could not watch for signals")]
    Signal(#[source] std::io::Error),
    #[error("could not find the guest agent")]
    Agent(#[from] AgentError),
    #[error("could not use the state store")]
    Store(#[from] StoreError),
    #[error("could not tidy up the images")]
    Images(#[from] ImageError),
    #[error("could not tidy up the kernels")]
    Kernels(#[from] KernelError),
    #[error("could not look for running VMs")]
    Recover(#[from] VmError),
}

/// Runs the daemon until it is told to stop.
///
/// # Errors
///
/// When another one runs, or something that it needs cannot be had.
pub async fn run(paths: Paths, config: Config) -> Result<(), ServeError> {
    let _lock = lock(&paths).await?;
    let app = assemble(paths, config).await?;
    let socket = app.services.paths.socket.clone();
    let listener = listen(&socket)?;
    tracing::info!(socket = %socket.display(), build = %banger_api::Build::current(), "ready");
    warm_up(&app);
    stop_on_signals(&app.stopping)?;

    let service = router()
        .split_for_parts()
        .0
        .fallback(nothing_there)
        .method_not_allowed_fallback(not_done_there)
        .layer(axum::middleware::from_fn(as_the_caller))
        .layer(axum::middleware::from_fn(same_build))
        .with_state(app.clone());
    let (stopping, stopped) = (app.stopping.clone(), app.stopping.clone());
    let server = axum::serve(OwnUserListener { socket: listener, vms: app.vms.clone() }, service)
        .with_graceful_shutdown(async move { stopping.cancelled().await });
    tokio::select! {
        served = async { server.await } => {
            if let Err(error) = served {
                tracing::error!(%error, "the server ended");
            }
        }
        () = async { stopped.cancelled().await; tokio::time::sleep(STOP_LIMIT).await } => {}
    }
    end_leases(&app).await;
    // Removed while the lock is held: it cannot be another daemon's.
    let _ = std::fs::remove_file(&socket);
    tracing::info!("ended");
    Ok(())
}

async fn assemble(paths: Paths, config: Config) -> Result<AppState, ServeError> {
    let store = Store::open(&paths.database())?;
    let web: Arc<dyn Web> = Arc::new(Downloads::new(&paths.cache));
    let catalog = Catalog::with(&config.catalogs.value, &paths.catalogs(), &web);
    let images = ImageService::new(store.clone(), &paths, catalog.clone());
    let kernels = KernelService::new(store.clone(), &paths, catalog.clone(), agent_path()?);
    images.recover().await?;
    kernels.recover().await?;
    let dir = paths.patches();
    let patches = Patches::new(&dir).map_err(|source| ServeError::File {
        action: "remove the patches in",
        path: dir,
        source,
    })?;
    let program = std::env::current_exe().map_err(ServeError::Program)?;
    let services = Arc::new(Services {
        store,
        qemu: Qemu::new(config.qemu_bin.value.clone(), Some(program.clone())),
        config,
        host: HostSize::of_this_host(),
        images,
        kernels,
        accelerator: Accelerator::new(program),
        operations: Operations::default(),
        paths,
    });
    let vms = Vms::new(services.clone());
    vms.recover().await?;
    Ok(AppState {
        services,
        catalog,
        vms,
        sessions: Sessions::default(),
        patches,
        started: Instant::now(),
        stopping: CancellationToken::new(),
    })
}

/// Takes the lock that makes this the only daemon on its state directory. It is let go when the process ends, however.
/// A daemon that is about to end holds it a little longer than its socket, so that one is waited for.
async fn lock(paths: &Paths) -> Result<std::fs::File, ServeError> {
    let path = paths.lock();
    let failed = |action| move |source| ServeError::File { action, path: paths.lock(), source };
    let file = std::fs::File::create(&path).map_err(failed("open"))?;
    let deadline = Instant::now() + 2 * STOP_LIMIT;
    loop {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) => {}
            Err(error) => return Err(failed("lock")(error.into())),
        }
        if Instant::now() > deadline || UnixStream::connect(&paths.socket).await.is_ok() {
            return Err(ServeError::Running { lock: path });
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Listens on `path`. Whatever lies there was left by a dead daemon: this one holds the lock.
fn listen(path: &Path) -> Result<UnixListener, ServeError> {
    let failed = |action| move |source| ServeError::File { action, path: path.into(), source };
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed("replace")(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(failed("listen on"))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed("protect"))?;
    Ok(listener)
}

/// Looks at the host's CPU before anybody waits for it.
fn warm_up(app: &AppState) {
    let services = app.services.clone();
    tokio::spawn(async move { services.accelerator.acceleration().await });
}

fn stop_on_signals(stopping: &CancellationToken) -> Result<(), ServeError> {
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut signal = signal(kind).map_err(ServeError::Signal)?;
        let stopping = stopping.clone();
        tokio::spawn(async move {
            if signal.recv().await.is_some() {
                stopping.cancel();
            }
        });
    }
    Ok(())
}

/// VMs that live by a connection go with the connections.
async fn end_leases(app: &AppState) {
    let leased = app.vms.list().into_iter().filter(|view| view.is_leased());
    let deletions = leased.map(|view| {
        let vms = app.vms.clone();
        async move { vms.delete(&view.row.id, true, Duration::ZERO, &Reporter::unwatched()).await }
    });
    let all = futures_util::future::join_all(deletions);
    if tokio::time::timeout(STOP_LIMIT, all).await.is_err() {
        tracing::warn!("some leased VMs are left for the next daemon to remove");
    }
}
