use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use banger_api::vm::{CreateVm, DeleteVm, KillVm, Lifetime, ListVms, StopVm, Stopped, Vm, VmHealth};
use banger_api::{ApiError, Event};
use banger_host::files::allocated_bytes;
use banger_host::process::Signal;

use super::access::{Body, Params};
use super::error::{Answer, Failure, vm_error};
use super::operation::{Lease, event_stream};
use super::state::AppState;
use crate::identity::VmId;
use crate::paths::VmDir;
use crate::vm::{VmError, VmView, parse_signal};

/// The VMs that run, or all of them.
#[utoipa::path(get, path = "/v1/vms", params(ListVms), responses((status = 200, body = [Vm])))]
pub(super) async fn list(State(app): State<AppState>, Params(which): Params<ListVms>) -> Json<Vec<Vm>> {
    let views = if which.all { app.vms.list() } else { app.vms.list_active() };
    Json(views.iter().map(VmView::to_api).collect())
}

/// One VM, by name, id or unique beginning of its id.
#[utoipa::path(get, path = "/v1/vms/{vm}", responses((status = 200, body = Vm), (status = 404, body = ApiError)))]
pub(super) async fn show(State(app): State<AppState>, Path(vm): Path<String>) -> Answer<Vm> {
    let view = app.vms.find(&vm)?;
    let dir = app.services.paths.vm(&view.row.id);
    let used = [VmDir::COW, VmDir::WORK].map(|name| allocated_bytes(&dir.file(name)).unwrap_or_default());
    Ok(Json(Vm { disk_used_bytes: Some(used.iter().sum()), ..view.to_api() }))
}

/// Makes a VM, and starts it when asked to. Answers with events; the result is the VM. A leased VM lives as
/// long as the answer is being read.
#[utoipa::path(
    post, path = "/v1/vms", request_body = CreateVm,
    responses(
        (status = 200, body = Event, content_type = "application/x-ndjson"),
        (status = 400, body = ApiError), (status = 409, body = ApiError), (status = 503, body = ApiError)
    )
)]
pub(super) async fn create(State(app): State<AppState>, body: Body<CreateVm>) -> Result<Response, Failure> {
    let request = body.0;
    let plan = app.vms.plan(&request).await?;
    let (id, vms) = (plan.id.clone(), app.vms.clone());
    let operation = app.operations().spawn(format!("create vm {}", plan.name), |reporter| async move {
        reporter.event(Event::Planned { spec: plan.to_api() });
        answer(vms.create(plan, &reporter).await.map(|view| view.to_api()))
    });
    let lease = (request.lifetime == Lifetime::Leased).then(|| {
        let (app, operation) = (app.clone(), operation.clone());
        Lease::new(move || {
            operation.cancel();
            abandon(&app, id);
        })
    });
    Ok(event_stream(operation, lease))
}

/// Deletes a VM that nobody waits for any more.
fn abandon(app: &AppState, id: VmId) {
    let vms = app.vms.clone();
    app.operations().spawn(format!("delete vm {id}"), |reporter| async move {
        answer(vms.discard(&id, &reporter).await)
    });
}

/// Starts a VM. Answers with events; the result is the VM.
#[utoipa::path(
    post, path = "/v1/vms/{vm}/start",
    responses((status = 200, body = Event, content_type = "application/x-ndjson"), (status = 404, body = ApiError))
)]
pub(super) async fn start(State(app): State<AppState>, Path(vm): Path<String>) -> Result<Response, Failure> {
    let (vms, view) = (app.vms.clone(), app.vms.find(&vm)?);
    let operation = app.operations().spawn(format!("start vm {}", view.row.name), |reporter| async move {
        answer(vms.start(&view.row.id, &reporter).await.map(|view| view.to_api()))
    });
    Ok(event_stream(operation, None))
}

/// Asks the guest to shut down and kills it when that takes too long. Answers with events; the result is
/// `Stopped`.
#[utoipa::path(
    post, path = "/v1/vms/{vm}/stop", request_body = StopVm,
    responses((status = 200, body = Event, content_type = "application/x-ndjson"), (status = 404, body = ApiError))
)]
pub(super) async fn stop(
    State(app): State<AppState>,
    Path(vm): Path<String>,
    body: Body<StopVm>,
) -> Result<Response, Failure> {
    let (vms, view) = (app.vms.clone(), app.vms.find(&vm)?);
    let grace = Duration::from_millis(body.0.timeout_ms);
    let operation = app.operations().spawn(format!("stop vm {}", view.row.name), |reporter| async move {
        let stopped = vms.stop(&view.row.id, grace, &reporter).await;
        answer(stopped.map(|(view, killed)| Stopped { vm: view.to_api(), killed }))
    });
    Ok(event_stream(operation, None))
}

/// Sends a signal to the VM's process, KILL unless another is named. Answers with events; the result is the
/// VM.
#[utoipa::path(
    post, path = "/v1/vms/{vm}/kill", request_body = KillVm,
    responses((status = 200, body = Event, content_type = "application/x-ndjson"), (status = 404, body = ApiError))
)]
pub(super) async fn kill(
    State(app): State<AppState>,
    Path(vm): Path<String>,
    body: Body<KillVm>,
) -> Result<Response, Failure> {
    let signal = match &body.0.signal {
        None => Signal::KILL,
        Some(name) => parse_signal(name)?,
    };
    let (vms, view) = (app.vms.clone(), app.vms.find(&vm)?);
    let operation = app.operations().spawn(format!("kill vm {}", view.row.name), |reporter| async move {
        if signal == Signal::KILL {
            answer(vms.kill(&view.row.id, &reporter).await.map(|view| view.to_api()))
        } else {
            answer(vms.signal(&view, signal).map(|()| view.to_api()).map_err(Arc::new))
        }
    });
    Ok(event_stream(operation, None))
}

/// Removes every trace of a VM. Answers with events; the result is null.
#[utoipa::path(
    delete, path = "/v1/vms/{vm}", params(DeleteVm),
    responses((status = 200, body = Event, content_type = "application/x-ndjson"), (status = 404, body = ApiError))
)]
pub(super) async fn delete(
    State(app): State<AppState>,
    Path(vm): Path<String>,
    Params(how): Params<DeleteVm>,
) -> Result<Response, Failure> {
    let (vms, view) = (app.vms.clone(), app.vms.find(&vm)?);
    let operation = app.operations().spawn(format!("delete vm {}", view.row.name), |reporter| async move {
        answer(vms.delete(&view.row.id, how.force, &reporter).await)
    });
    Ok(event_stream(operation, None))
}

/// Asks the VM's agent how it is.
#[utoipa::path(
    get, path = "/v1/vms/{vm}/health",
    responses((status = 200, body = VmHealth), (status = 404, body = ApiError), (status = 409, body = ApiError))
)]
pub(super) async fn health(State(app): State<AppState>, Path(vm): Path<String>) -> Answer<VmHealth> {
    let (health, round_trip) = app.vms.find(&vm)?.guest()?.health().await.map_err(VmError::Guest)?;
    Ok(Json(VmHealth {
        round_trip_us: round_trip.as_micros() as u64,
        agent_build: health.agent_build,
        kernel_release: health.kernel_release,
        uptime_ms: health.uptime_ms,
        exec_sessions: health.exec_sessions,
    }))
}

/// An operation's end in the API's words.
pub(super) fn answer<T>(outcome: Result<T, Arc<VmError>>) -> Result<T, ApiError> {
    outcome.map_err(|error| vm_error(&error))
}
