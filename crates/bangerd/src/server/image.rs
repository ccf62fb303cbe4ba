use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use banger_api::bundle::MakeBundle;
use banger_api::image::{Image, ImportImage, ListImages, PruneImages, PrunedImages, PullImage};
use banger_api::{ApiError, Event};

use super::access::{Body, Params, absolute};
use super::error::{Answer, Failure};
use super::operation;
use super::state::AppState;
use crate::image::{ImportRequest, PullRequest, image_ref};

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

/// Gets an image of the catalog or from an OCI registry. Answers with events; the result is the image.
#[utoipa::path(
    post, path = "/v1/images/pull", request_body = PullImage,
    responses((status = 200, body = Event, content_type = "application/x-ndjson"))
)]
pub(super) async fn pull(State(app): State<AppState>, body: Body<PullImage>) -> Result<Response, Failure> {
    let PullImage { name, save_as, size_mib, kernel, insecure } = body.0;
    let (images, title) = (app.services.images.clone(), format!("pull image {name}"));
    let request = PullRequest { image: image_ref(&name)?, save_as, size_mib, kernel, insecure };
    Ok(operation::run(&app, title, |reporter| async move {
        images.show(&images.pull(&request, &reporter).await?.name).await
    }))
}

/// Makes an image of a local file or directory. Answers with events; the result is the image.
#[utoipa::path(
    post, path = "/v1/images/import", request_body = ImportImage,
    responses((status = 200, body = Event, content_type = "application/x-ndjson"))
)]
pub(super) async fn import(
    State(app): State<AppState>,
    body: Body<ImportImage>,
) -> Result<Response, Failure> {
    let ImportImage { name, path, in_place, tag, size_mib, kernel } = body.0;
    let (images, title) = (app.services.images.clone(), format!("import image {name}"));
    let request = ImportRequest { name, path: absolute(path)?, in_place, tag, size_mib, kernel };
    Ok(operation::run(&app, title, |reporter| async move {
        images.show(&images.import(&request, &reporter).await?.name).await
    }))
}

/// Makes a copy of banger's own of an image that is used in place. Answers with events; the result is the
/// image.
#[utoipa::path(
    post, path = "/v1/images/{name}/promote",
    responses((status = 200, body = Event, content_type = "application/x-ndjson"))
)]
pub(super) async fn promote(
    State(app): State<AppState>,
    Path(name): Path<String>,
) -> Result<Response, Failure> {
    let images = app.services.images.clone();
    Ok(operation::run(&app, format!("promote image {name}"), |reporter| async move {
        images.show(&images.promote(&name, &reporter).await?.name).await
    }))
}

/// Writes an image into a bundle: one file, for other hosts. Answers with events; the result is the bundle.
#[utoipa::path(
    post, path = "/v1/images/{name}/bundle", request_body = MakeBundle,
    responses((status = 200, body = Event, content_type = "application/x-ndjson"))
)]
pub(super) async fn bundle(
    State(app): State<AppState>,
    Path(name): Path<String>,
    body: Body<MakeBundle>,
) -> Result<Response, Failure> {
    let MakeBundle { output, replace } = body.0;
    let (images, output) = (app.services.images.clone(), absolute(output)?);
    Ok(operation::run(&app, format!("bundle image {name}"), |reporter| async move {
        images.bundle(&name, &output, replace, &reporter).await
    }))
}

/// Removes images that no VM uses, and downloads that no image needs; or tells which those are.
#[utoipa::path(
    post, path = "/v1/images/prune", request_body = PruneImages,
    responses((status = 200, body = PrunedImages))
)]
pub(super) async fn prune(State(app): State<AppState>, body: Body<PruneImages>) -> Answer<PrunedImages> {
    Ok(Json(app.services.images.prune(body.0.dry_run).await?))
}

/// Removes an image from this host, unless a VM uses it.
#[utoipa::path(
    delete, path = "/v1/images/{name}",
    responses((status = 200), (status = 404, body = ApiError), (status = 409, body = ApiError))
)]
pub(super) async fn delete(State(app): State<AppState>, Path(name): Path<String>) -> Answer<()> {
    Ok(Json(app.services.images.delete(&name).await?))
}
