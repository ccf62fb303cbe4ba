use axum::Json;
use axum::extract::{Path, State};
use banger_api::ApiError;
use banger_api::egress::{ChangeEgress, Egress, EgressChanged, EgressSet};
use banger_gateway::policy::sets;

use super::access::Body;
use super::error::Answer;
use super::state::AppState;

/// What a VM may reach, what it has contacted, and what it was refused.
#[utoipa::path(
    get, path = "/v1/vms/{vm}/egress",
    responses((status = 200, body = Egress), (status = 404, body = ApiError), (status = 409, body = ApiError))
)]
pub(super) async fn show(State(app): State<AppState>, Path(vm): Path<String>) -> Answer<Egress> {
    let view = app.vms.find(&vm)?;
    Ok(Json(app.vms.egress(&view).await?))
}

/// Changes what a VM may reach, at once where it runs.
#[utoipa::path(
    post, path = "/v1/vms/{vm}/egress", request_body = ChangeEgress,
    responses(
        (status = 200, body = EgressChanged),
        (status = 400, body = ApiError), (status = 404, body = ApiError), (status = 409, body = ApiError)
    )
)]
pub(super) async fn change(
    State(app): State<AppState>,
    Path(vm): Path<String>,
    body: Body<ChangeEgress>,
) -> Answer<EgressChanged> {
    let view = app.vms.find(&vm)?;
    Ok(Json(app.vms.change_egress(&view, &body.0).await?))
}

/// The sets that a policy may name by one word.
#[utoipa::path(get, path = "/v1/egress/sets", responses((status = 200, body = [EgressSet])))]
pub(super) async fn list_sets() -> Json<Vec<EgressSet>> {
    let to_api = |set: &banger_gateway::policy::Set| EgressSet {
        name: format!("@{}", set.name),
        about: set.about.into(),
        entries: set.names.iter().map(|name| (*name).to_owned()).collect(),
    };
    Json(sets().iter().map(to_api).collect())
}
