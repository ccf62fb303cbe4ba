use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use banger_api::ApiError;
use banger_api::vm::{LogSource, VmLogs};
use bytes::Bytes;
use futures_util::stream;

use super::access::Params;
use super::error::Failure;
use super::state::AppState;
use crate::paths::VmDir;
use crate::vm::LogReader;

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
    let log = LogReader::new(app.services.paths.vm(&view.row.id).file(name));
    let (follow, id) = (which.follow, view.row.id.to_string());
    let pieces = stream::try_unfold((log, app), move |(mut log, app)| {
        let id = id.clone();
        async move {
            let piece = if follow {
                log.follow(|| app.stopping.is_cancelled() || app.vms.find(&id).is_err()).await?
            } else {
                log.next_piece().await?
            };
            Ok::<_, std::io::Error>(piece.map(|piece| (Bytes::from(piece), (log, app))))
        }
    });
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    Ok((headers, Body::from_stream(pieces)).into_response())
}
