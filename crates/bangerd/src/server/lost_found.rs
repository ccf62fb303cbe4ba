use axum::Json;
use axum::extract::{Path, State};
use banger_api::ApiError;
use banger_api::lost_found::{LostThing, RestoreLost, RestoredThing};

use super::access::Body;
use super::error::Answer;
use super::state::AppState;
use crate::vm::LostEntry;

/// What lay among banger's files and nothing explains.
#[utoipa::path(get, path = "/v1/lost-found", responses((status = 200, body = [LostThing])))]
pub(super) async fn list(State(app): State<AppState>) -> Answer<Vec<LostThing>> {
    Ok(Json(app.vms.lost()?.into_iter().map(to_api).collect()))
}

/// Brings something back to where it lay.
#[utoipa::path(
    post, path = "/v1/lost-found/{name}/restore", request_body = RestoreLost,
    responses((status = 200, body = RestoredThing), (status = 404, body = ApiError), (status = 409, body = ApiError))
)]
pub(super) async fn restore(
    State(app): State<AppState>,
    Path(name): Path<String>,
    Body(how): Body<RestoreLost>,
) -> Answer<RestoredThing> {
    let (kind, name) = app.vms.restore_lost(&name, how.image.as_deref()).await?;
    Ok(Json(RestoredThing { kind: kind.word().into(), name }))
}

/// Removes something for good.
#[utoipa::path(
    delete, path = "/v1/lost-found/{name}", responses((status = 200), (status = 404, body = ApiError))
)]
pub(super) async fn delete(State(app): State<AppState>, Path(name): Path<String>) -> Answer<()> {
    Ok(Json(app.vms.delete_lost(&name).await?))
}

fn to_api(entry: LostEntry) -> LostThing {
    let LostEntry { name, lost, path, disk_used_bytes } = entry;
    let path = path.display().to_string();
    match lost {
        Ok(lost) => LostThing {
            name,
            kind: Some(lost.kind.word().into()),
            from: Some(lost.from.display().to_string()),
            path,
            why: lost.why,
            found_at_unix_ms: Some(lost.found_at_unix_ms),
            disk_used_bytes,
        },
        Err(error) => LostThing {
            name,
            kind: None,
            from: None,
            path,
            why: error.to_string(),
            found_at_unix_ms: None,
            disk_used_bytes,
        },
    }
}
