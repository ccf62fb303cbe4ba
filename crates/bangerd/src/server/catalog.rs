use axum::Json;
use axum::extract::State;
use banger_api::catalog::Catalog;

use super::error::Answer;
use super::state::AppState;
use crate::download::Environment;

/// The catalogs of the user's, in the order in which they are asked. Addresses are asked for it.
#[utoipa::path(get, path = "/v1/catalogs", responses((status = 200, body = [Catalog])))]
pub(super) async fn list(State(app): State<AppState>) -> Answer<Vec<Catalog>> {
    let states = app.catalog.states(&Environment::of_caller()).await.into_iter().map(|state| Catalog {
        place: state.place,
        entries: state.entries as u64,
        shadowed: state.shadowed,
        problem: state.problem,
    });
    Ok(Json(states.collect()))
}
