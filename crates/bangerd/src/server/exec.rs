use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use banger_api::{ApiError, ErrorCode, UPGRADE_TOKEN};
use hyper_util::rt::TokioIo;

use super::error::Failure;
use super::state::AppState;
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
    mut request: Request,
) -> Result<Response, Failure> {
    let asked_for = request.headers().get(header::UPGRADE).and_then(|value| value.to_str().ok());
    if asked_for != Some(UPGRADE_TOKEN) {
        let error = ApiError::new(ErrorCode::Usage, "exec needs the header `upgrade: banger-stream`");
        return Err(error.into());
    }
    let mut guest = app.vms.find(&vm)?.guest()?.exec().await.map_err(VmError::Guest)?;
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
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers).into_response())
}
