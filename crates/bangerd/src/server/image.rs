use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use banger_api::image::{Image, ListImages, PullImage};
use banger_api::{ApiError, ErrorCode, Event};

use super::access::{Body, Params};
use super::error::{Answer, Failure, image_error};
use super::operation::event_stream;
use super::state::AppState;

/// The images on this host, and those of the catalog when asked for.
#[utoipa::path(get, path = "/v1/images", params(ListImages), responses((status = 200, body = [Image])))]
pub(super) async fn list(
    State(app): State<AppState>,
    Params(which): Params<ListImages>,
) -> Answer<Vec<Image>> {
    Ok(Json(app.services.images.list(which.available).await?))
}

/// One image, on this host or in the catalog.
#[utoipa::path(
    get, path = "/v1/images/{name}",
    responses((status = 200, body = Image), (status = 404, body = ApiError))
)]
pub(super) async fn show(State(app): State<AppState>, Path(name): Path<String>) -> Answer<Image> {
    Ok(Json(app.services.images.show(&name).await?))
}

/// Gets a image of the catalog. Answers with events; the result is the image.
#[utoipa::path(
    post, path = "/v1/images/pull", request_body = PullImage,
    responses((status = 200, body = Event, content_type = "application/x-ndjson"))
)]
pub(super) async fn pull(State(app): State<AppState>, body: Body<PullImage>) -> Result<Response, Failure> {
    let (services, name) = (app.services.clone(), body.0.name);
    let operation = app.operations().spawn(format!("pull image {name}"), |reporter| async move {
        let shown = async {
            let row = services.images.pull(&name, &reporter).await?;
            services.images.show(&row.name).await
        };
        let image = shown.await.map_err(|error| image_error(&error))?;
        serde_json::to_value(image).map_err(|error| ApiError::from_error(ErrorCode::Failed, &error))
    });
    Ok(event_stream(operation, None))
}

/// Removes a image from this host, unless a VM uses it.
#[utoipa::path(
    delete, path = "/v1/images/{name}",
    responses((status = 200), (status = 404, body = ApiError), (status = 409, body = ApiError))
)]
pub(super) async fn delete(State(app): State<AppState>, Path(name): Path<String>) -> Answer<()> {
    Ok(Json(app.services.images.delete(&name).await?))
}
