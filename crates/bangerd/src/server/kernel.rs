use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use banger_api::bundle::MakeBundle;
use banger_api::kernel::{ImportKernel, Kernel, ListKernels, PullKernel};
use banger_api::{ApiError, Event};

use super::access::{Body, Params, absolute};
use super::error::{Answer, Failure};
use super::operation;
use super::state::AppState;

/// The kernels on this host, and those of the catalog when asked for.
#[utoipa::path(get, path = "/v1/kernels", params(ListKernels), responses((status = 200, body = [Kernel])))]
pub(super) async fn list(
    State(app): State<AppState>,
    Params(which): Params<ListKernels>,
) -> Answer<Vec<Kernel>> {
    Ok(Json(app.services.kernels.list(which.available).await?))
}

/// One kernel, on this host or in the catalog.
#[utoipa::path(
    get, path = "/v1/kernels/{name}",
    responses((status = 200, body = Kernel), (status = 404, body = ApiError))
)]
pub(super) async fn show(State(app): State<AppState>, Path(name): Path<String>) -> Answer<Kernel> {
    Ok(Json(app.services.kernels.show(&name).await?))
}

/// Gets a kernel of the catalog. Answers with events; the result is the kernel.
#[utoipa::path(
    post, path = "/v1/kernels/pull", request_body = PullKernel,
    responses((status = 200, body = Event, content_type = "application/x-ndjson"))
)]
pub(super) async fn pull(State(app): State<AppState>, body: Body<PullKernel>) -> Result<Response, Failure> {
    let (kernels, name) = (app.services.kernels.clone(), body.0.name);
    Ok(operation::run(&app, format!("pull kernel {name}"), |reporter| async move {
        kernels.show(&kernels.pull(&name, &reporter).await?.name).await
    }))
}

/// Makes a kernel of a directory or a bundle of this host's. Answers with events; the result is the kernel.
#[utoipa::path(
    post, path = "/v1/kernels/import", request_body = ImportKernel,
    responses((status = 200, body = Event, content_type = "application/x-ndjson"))
)]
pub(super) async fn import(
    State(app): State<AppState>,
    body: Body<ImportKernel>,
) -> Result<Response, Failure> {
    let ImportKernel { name, from } = body.0;
    let (kernels, from) = (app.services.kernels.clone(), absolute(from)?);
    Ok(operation::run(&app, format!("import kernel {name}"), |reporter| async move {
        kernels.show(&kernels.import(&name, &from, &reporter).await?.name).await
    }))
}

/// Writes a kernel into a bundle: one file, for other hosts. Answers with events; the result is the bundle.
#[utoipa::path(
    post, path = "/v1/kernels/{name}/bundle", request_body = MakeBundle,
    responses((status = 200, body = Event, content_type = "application/x-ndjson"))
)]
pub(super) async fn bundle(
    State(app): State<AppState>,
    Path(name): Path<String>,
    body: Body<MakeBundle>,
) -> Result<Response, Failure> {
    let MakeBundle { output, replace } = body.0;
    let (kernels, output) = (app.services.kernels.clone(), absolute(output)?);
    Ok(operation::run(&app, format!("bundle kernel {name}"), |reporter| async move {
        kernels.bundle(&name, &output, replace, &reporter).await
    }))
}

/// Removes a kernel from this host, unless a VM uses it.
#[utoipa::path(
    delete, path = "/v1/kernels/{name}",
    responses((status = 200), (status = 404, body = ApiError), (status = 409, body = ApiError))
)]
pub(super) async fn delete(State(app): State<AppState>, Path(name): Path<String>) -> Answer<()> {
    Ok(Json(app.services.kernels.delete(&name).await?))
}
