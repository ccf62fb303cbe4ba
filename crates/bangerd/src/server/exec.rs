use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use banger_api::{ApiError, ErrorCode, UPGRADE_TOKEN};
use banger_guest_protocol::messages::GuestErrorKind;
use hyper_util::rt::TokioIo;

use super::error::Failure;
use super::state::AppState;
use crate::guest::{ExecUpgrade, GuestError};
use crate::vm::VmError;

/// Per direction. Larger than a frame, so that none is cut without need.
const BUFFER_BYTES: usize = 256 * 1024;

/// Runs a command in the VM. Upgrades the connection to a raw stream of frames, which goes to the VM's agent
/// and back unread.
#[utoipa::path(
    get, path = "/v1/vms/{vm}/exec",
    responses((status = 101), (status = 404, body = ApiError), (status = 409, body = ApiError))
)]
pub(super) async fn exec(
    State(app): State<AppState>,
    Path(vm): Path<String>,
    request: Request,
) -> Result<Response, Failure> {
    wants_stream(&request)?;
    let guest = app.vms.find(&vm)?.guest()?.exec().await.map_err(VmError::Guest)?;
    Ok(splice(app, vm, request, guest))
}

/// Connects to an SSH server that the VM's agent starts for it. Upgrades the connection to a raw stream of
/// frames like those of a command; stdin and stdout are the connection.
#[utoipa::path(
    get, path = "/v1/vms/{vm}/ssh",
    responses((status = 101), (status = 404, body = ApiError), (status = 409, body = ApiError))
)]
pub(super) async fn ssh(
    State(app): State<AppState>,
    Path(vm): Path<String>,
    request: Request,
) -> Result<Response, Failure> {
    wants_stream(&request)?;
    let found = app.vms.find(&vm)?;
    let guest = found.guest()?.ssh().await.map_err(|error| no_server(error, found.row.name.as_str()))?;
    Ok(splice(app, vm, request, guest))
}

fn no_server(error: GuestError, name: &str) -> Failure {
    let hint = match &error {
        GuestError::Refused { kind: GuestErrorKind::Refused, .. } => {
            format!(
                "`banger exec {name} -- CMD` runs commands without an SSH server, such as the one that installs it"
            )
        }
        GuestError::Refused { .. } => {
            format!(
                "a VM that an earlier banger has started can do it after another start: banger stop {name} && banger start {name}"
            )
        }
        _ => return VmError::Guest(error).into(),
    };
    let Failure(error) = VmError::Guest(error).into();
    Failure(error.with_hint(hint))
}

fn wants_stream(request: &Request) -> Result<(), Failure> {
    let asked_for = request.headers().get(header::UPGRADE).and_then(|value| value.to_str().ok());
    if asked_for == Some(UPGRADE_TOKEN) {
        return Ok(());
    }
    let path = request.uri().path();
    Err(ApiError::new(ErrorCode::Usage, format!("{path} needs the header `upgrade: {UPGRADE_TOKEN}`")).into())
}

/// Answers that the connection is the guest's stream from now on, and carries both ways until one of them
/// ends.
fn splice(app: AppState, vm: String, mut request: Request, mut guest: ExecUpgrade) -> Response {
    let upgrade = hyper::upgrade::on(&mut request);
    let session = app.sessions.enter();
    let stopping = app.stopping.clone();
    tokio::spawn(async move {
        let _session = session;
        let Ok(client) = upgrade.await else { return };
        let mut client = TokioIo::new(client);
        // Either side's end is passed on to the other by the copy, and both are dropped with this task: the
        // agent ends a command whose client has gone.
        tokio::select! {
            copied = tokio::io::copy_bidirectional_with_sizes(&mut client, &mut guest, BUFFER_BYTES, BUFFER_BYTES) => {
                if let Err(error) = copied {
                    tracing::debug!(%error, vm, "an exec stream broke");
                }
            }
            () = stopping.cancelled() => {}
        }
    });
    let headers = [(header::CONNECTION, "upgrade"), (header::UPGRADE, UPGRADE_TOKEN)];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}
