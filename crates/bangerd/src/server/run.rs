use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use banger_api::record::directory_id;
use banger_host::clean_start::TakenOver;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::access::{OwnUserListener, as_the_caller, not_done_there, nothing_there, same_build, same_state};
use super::presence::{Presence, PresenceError};
use super::router;
use super::state::{AppState, Sessions};
use super::under_way::{UnderWay, within_limit};
use crate::catalog::Catalog;
use crate::causes::chain;
use crate::config::{Config, HostSize};
use crate::download::{Downloads, Web};
use crate::image::ImageService;
use crate::kernel::{AgentError, KernelService, agent_path};
use crate::network::Gateways;
use crate::operation::{Operations, Reporter};
use crate::paths::Paths;
use crate::ssh::{self, Ssh};
use crate::store::{Store, StoreError, back_up};
use crate::vm::{HostPorts, Services, VmError, Vms};
use crate::vmm::{Accelerator, Vmms};
use crate::{dns, watchdog, workspace};

/// How long connections may take to end once the daemon is to stop.
const STOP_LIMIT: Duration = Duration::from_secs(3);

/// Why the daemon does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Presence(#[from] PresenceError),
    #[error("could not {action} {}", path.display())]
    File { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error("could not find out what program this is")]
    Program(#[source] std::io::Error),
    #[error("could not start the watchdog")]
    Watchdog(#[source] std::io::Error),
    #[error("could not watch for signals")]
    Signal(#[source] std::io::Error),
    #[error("could not find the guest agent")]
    Agent(#[from] AgentError),
    #[error("could not use the state store")]
    Store(#[from] StoreError),
    #[error("could not look for running VMs")]
    Recover(#[source] Box<VmError>),
}

impl From<VmError> for ServeError {
    fn from(error: VmError) -> Self {
        Self::Recover(error.into())
    }
}

/// Runs the daemon until it is told to stop.
///
/// # Errors
///
/// When another one runs, or something that it needs cannot be had.
pub async fn run(paths: Paths, config: Config, taken_over: TakenOver) -> Result<(), ServeError> {
    let presence = Presence::take(&paths.state).await?;
    let app = assemble(paths, config, (presence, taken_over)).await?;
    let listener = app.presence.listen()?;
    let socket = app.presence.socket().unwrap_or_default();
    tracing::info!(socket = %socket.display(), build = %banger_api::Build::current(), "ready");
    warm_up(&app);
    let under_way = UnderWay::default();
    watch(&app, &under_way)?;
    stop_on_signals(&app.stopping)?;
    // A limit on the size of files that could not be raised is then an error of that write.
    let _too_large = signal(SignalKind::from_raw(banger_host::process::Signal::XFSZ.as_raw()))
        .map_err(ServeError::Signal)?;
    let _hangups = app
        .taken_over
        .ignores_hangup
        .then(|| signal(SignalKind::hangup()).map_err(ServeError::Signal))
        .transpose()?;

    // One that cannot be looked at is nobody's: then whoever names a directory is refused, and told.
    let own_state: Arc<str> = directory_id(&app.services.paths.state).unwrap_or_default().into();
    let service = router()
        .split_for_parts()
        .0
        .fallback(nothing_there)
        .method_not_allowed_fallback(not_done_there)
        .layer(axum::middleware::from_fn_with_state(under_way.clone(), within_limit))
        .layer(axum::middleware::from_fn(as_the_caller))
        .layer(axum::middleware::from_fn(same_build))
        .layer(axum::middleware::from_fn_with_state(own_state, same_state))
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
    app.presence.leave();
    tracing::info!("ended");
    Ok(())
}

async fn assemble(
    paths: Paths,
    config: Config,
    (presence, taken_over): (Presence, TakenOver),
) -> Result<AppState, ServeError> {
    // Before anything is changed in it, a migration included.
    if let Err(error) = back_up(&paths.database(), &paths.backups()) {
        tracing::warn!(causes = ?chain(&error), "the state store was not copied");
    }
    let store = Store::open(&paths.database())?;
    let web: Arc<dyn Web> = Arc::new(Downloads::new(&paths.cache));
    let catalog = Catalog::with(&config.catalogs.value, &paths.catalogs(), &web);
    let images = ImageService::new(store.clone(), &paths, catalog.clone());
    let kernels = KernelService::new(store.clone(), &paths, catalog.clone(), agent_path()?);
    // One thing that is out of order must not keep the others from being used.
    untidy("images", images.recover().await.err());
    untidy("kernels", kernels.recover().await.err());
    untidy("patches that were being applied", workspace::recover(&paths.applying()).err());
    let branches = workspace::recover_branches(&paths.applying()).await;
    untidy("branches that were being made", branches.err());
    let program = std::env::current_exe().map_err(ServeError::Program)?;
    let ssh = Ssh::new(&paths);
    untidy("what ssh is told of VMs", ssh.prepare(&ssh::banger_beside(&program), &ssh::environment()).err());
    let services = Arc::new(Services {
        store,
        vmms: Vmms::of_this_host(&config.qemu_bin.value, &program),
        config,
        host: HostSize::of_this_host(),
        images,
        kernels,
        gateways: Gateways::beside(&program),
        accelerator: Accelerator::new(program),
        operations: Operations::default(),
        ssh,
        host_ports: HostPorts::default(),
        paths,
    });
    let vms = Vms::new(services.clone());
    untidy("patches", vms.remove_left_patches().err());
    vms.recover().await?;
    let named = vms.clone();
    let dns = dns::serve(services.config.dns_listen.value, move |name| named.address_of(name));
    Ok(AppState {
        presence,
        taken_over: Arc::new(taken_over),
        services,
        catalog,
        vms,
        dns,
        sessions: Sessions::default(),
        started: Instant::now(),
        stopping: CancellationToken::new(),
    })
}

/// What could not be put in order waits for the next start.
fn untidy<E: std::error::Error>(what: &str, error: Option<E>) {
    if let Some(error) = error {
        tracing::error!(what, causes = ?chain(&error), "could not be put in order");
    }
}

/// Watches the workers from outside.
fn watch(app: &AppState, under_way: &UnderWay) -> Result<(), ServeError> {
    let (under_way, operations) = (under_way.clone(), app.operations().clone());
    let shown = move || {
        let running = operations.list().into_iter().filter(|operation| !operation.done());
        under_way.in_words().into_iter().chain(running.map(|operation| operation.title.clone())).collect()
    };
    watchdog::start(tokio::runtime::Handle::current(), shown).map_err(ServeError::Watchdog)
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
    let leased = app.vms.views().into_iter().filter(|view| view.is_leased());
    let deletions = leased.map(|view| {
        let vms = app.vms.clone();
        async move { vms.discard(&view.row.id, &Reporter::unwatched()).await }
    });
    let all = futures_util::future::join_all(deletions);
    if tokio::time::timeout(STOP_LIMIT, all).await.is_err() {
        tracing::warn!("some leased VMs are left for the next daemon to remove");
    }
}
