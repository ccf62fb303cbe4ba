//! HTTP over the Unix socket. Converts requests and answers and maps errors; decides nothing.

mod access;
mod catalog;
mod daemon;
mod egress;
mod error;
mod error_code;
mod exec;
mod files;
mod image;
mod kernel;
mod logs;
mod lost_found;
mod operation;
mod ports;
mod presence;
mod run;
mod state;
mod under_way;
mod vm;
mod workspace;

use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

#[cfg(test)]
pub(crate) use error_code::{image_code, kernel_code};
pub use presence::PresenceError;
pub use run::{ServeError, run};
use state::AppState;

#[derive(utoipa::OpenApi)]
#[openapi(info(
    title = "bangerd",
    description = "The API of banger's daemon. HTTP/1.1 over the Unix socket that `banger daemon status` names; usually $XDG_RUNTIME_DIR/banger/bangerd.sock.",
    license(name = "Apache-2.0 OR MIT")
))]
struct Document;

fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(daemon::status))
        .routes(routes!(daemon::stop))
        .routes(routes!(vm::list, vm::create))
        .routes(routes!(vm::show, vm::delete))
        .routes(routes!(vm::start))
        .routes(routes!(vm::stop))
        .routes(routes!(vm::kill))
        .routes(routes!(vm::health))
        .routes(routes!(egress::show, egress::change))
        .routes(routes!(egress::list_sets))
        .routes(routes!(ports::ports))
        .routes(routes!(ports::forward))
        .routes(routes!(logs::logs))
        .routes(routes!(exec::exec))
        .routes(routes!(exec::ssh))
        .routes(routes!(files::pack, files::unpack))
        .routes(routes!(files::stat))
        .routes(routes!(workspace::contents))
        .routes(routes!(workspace::prepare))
        .routes(routes!(workspace::export))
        .routes(routes!(workspace::staleness))
        .routes(routes!(workspace::patch))
        .routes(routes!(image::list))
        .routes(routes!(image::pull))
        .routes(routes!(image::import))
        .routes(routes!(image::promote))
        .routes(routes!(image::prune))
        .routes(routes!(image::show, image::delete))
        .routes(routes!(kernel::list))
        .routes(routes!(kernel::pull))
        .routes(routes!(image::bundle))
        .routes(routes!(kernel::import))
        .routes(routes!(kernel::bundle))
        .routes(routes!(kernel::show, kernel::delete))
        .routes(routes!(catalog::list))
        .routes(routes!(lost_found::list))
        .routes(routes!(lost_found::restore))
        .routes(routes!(lost_found::delete))
        .routes(routes!(operation::list))
        .routes(routes!(operation::cancel))
        .routes(routes!(operation::events))
}

/// The API's description. `docs/openapi.json` is this; a test holds them together.
pub fn openapi() -> utoipa::openapi::OpenApi {
    router().into_openapi()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_committed_description_is_the_api() {
        let described = include_str!("../../../../docs/openapi.json");
        let now = super::openapi().to_pretty_json().unwrap();
        assert_eq!(described.trim(), now.trim(), "renew it: `bangerd openapi > docs/openapi.json`");
    }
}
