use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use banger_api::ApiError;
use banger_api::vm::{LogSource, VmLogs};
use bytes::Bytes;
use futures_util::stream;
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;

use super::access::Params;
use super::error::Failure;
use super::state::AppState;
use crate::paths::VmDir;

/// How often a followed log is looked at. A file says nothing by itself, and nobody reads faster.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(200);

/// A VM's console, or what its VMM said.
#[utoipa::path(
    get, path = "/v1/vms/{vm}/logs", params(VmLogs),
    responses((status = 200, body = String, content_type = "text/plain"), (status = 404, body = ApiError))
)]
pub(super) async fn logs(
    State(app): State<AppState>,
    Path(vm): Path<String>,
    Params(which): Params<VmLogs>,
) -> Result<Response, Failure> {
    let view = app.vms.find(&vm)?;
    let name = match which.source {
        LogSource::Console => VmDir::CONSOLE_LOG,
        LogSource::Vmm => VmDir::VMM_LOG,
    };
    let path = app.services.paths.vm(&view.row.id).file(name);
    // None: the VM was never started.
    let file = File::open(&path).await.ok();
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    let Some(file) = file else { return Ok((headers, "").into_response()) };
    let (follow, id) = (which.follow, view.row.id.to_string());
    let pieces = stream::unfold((file, app), move |(mut file, app)| {
        let id = id.clone();
        async move {
            let mut buffer = vec![0; 64 * 1024];
            loop {
                match file.read(&mut buffer).await {
                    Err(error) => return Some((Err(error), (file, app))),
                    Ok(0) if follow && !app.stopping.is_cancelled() && app.vms.find(&id).is_ok() => {
                        tokio::time::sleep(FOLLOW_INTERVAL).await;
                    }
                    Ok(0) => return None,
                    Ok(n) => return Some((Ok(Bytes::copy_from_slice(&buffer[..n])), (file, app))),
                }
            }
        }
    });
    Ok((headers, Body::from_stream(pieces)).into_response())
}
