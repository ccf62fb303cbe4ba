use axum::Json;
use axum::extract::State;
use banger_api::daemon::{DaemonStatus, DnsListener, StopDaemon};
use banger_api::{ApiError, Build, ErrorCode};

use super::access::Params;
use super::error::Answer;
use super::state::AppState;
use crate::dns::DnsStatus;

/// How the daemon is doing.
#[utoipa::path(get, path = "/v1/daemon", responses((status = 200, body = DaemonStatus)))]
pub(super) async fn status(State(app): State<AppState>) -> Json<DaemonStatus> {
    let (paths, vms) = (&app.services.paths, app.vms.counts());
    Json(DaemonStatus {
        pid: std::process::id(),
        build: Build::current(),
        socket: app.presence.socket().unwrap_or_default().display().to_string(),
        log_path: paths.log().display().to_string(),
        state_dir: paths.state.display().to_string(),
        cache_dir: paths.cache.display().to_string(),
        uptime_ms: app.started.elapsed().as_millis() as u64,
        vms_total: vms.total,
        vms_running: vms.running,
        sessions: app.sessions.count(),
        operations: running_operations(&app),
        leased_vms: vms.leased,
        environment: kept_variables(),
        limits: app.taken_over.limits.clone(),
        dns: match app.dns.status() {
            DnsStatus::Off => None,
            DnsStatus::Listening(address) => Some(DnsListener { address, unavailable: None }),
            DnsStatus::Unavailable { address, why } => Some(DnsListener { address, unavailable: Some(why) }),
        },
    })
}

/// Ends the daemon. VMs keep running and are found again by the next one, except leased ones: they go.
#[utoipa::path(
    post, path = "/v1/daemon/stop", params(StopDaemon),
    responses((status = 200), (status = 409, body = ApiError))
)]
pub(super) async fn stop(State(app): State<AppState>, Params(how): Params<StopDaemon>) -> Answer<()> {
    let sessions = if how.if_idle { app.sessions.count_settled().await } else { 0 };
    let operations = running_operations(&app);
    let leased = app.vms.counts().leased.len();
    if how.if_idle && (sessions > 0 || leased > 0 || !operations.is_empty()) {
        let mut error = ApiError::new(ErrorCode::Refused, "bangerd is busy and was not stopped");
        if sessions > 0 {
            error = error.because(format!("{sessions} command(s) run through it"));
        }
        if leased > 0 {
            error = error.because(format!("{leased} VM(s) of `vm run --rm` live by it"));
        }
        for operation in operations {
            error = error.because(format!("it is at work: {operation}"));
        }
        return Err(error.with_hint("wait for them, or `banger daemon stop` to cut them off").into());
    }
    app.stopping.cancel();
    Ok(Json(()))
}

fn kept_variables() -> Vec<String> {
    let mut names: Vec<String> =
        std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn running_operations(app: &AppState) -> Vec<String> {
    let running = app.operations().list().into_iter().filter(|operation| !operation.done());
    running.map(|operation| operation.title.clone()).collect()
}
