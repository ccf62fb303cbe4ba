use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use banger_api::{ApiError, ErrorCode, Event, operation};
use bytes::Bytes;
use futures_util::stream;
use serde::Serialize;

use super::error::{Answer, Failure};
use super::state::AppState;
use crate::operation::{Operation, Reporter};

/// How often a silent stream says that it is still there, and notices that nobody reads it.
const KEEP_ALIVE: Duration = Duration::from_secs(1);

/// Every operation that runs or has ended a short while ago.
#[utoipa::path(get, path = "/v1/operations", responses((status = 200, body = [operation::Operation])))]
pub(super) async fn list(State(app): State<AppState>) -> Json<Vec<operation::Operation>> {
    Json(app.operations().list().iter().map(|operation| to_api(operation)).collect())
}

/// Calls an operation off; what it did is undone.
#[utoipa::path(delete, path = "/v1/operations/{id}", responses((status = 200), (status = 404, body = ApiError)))]
pub(super) async fn cancel(State(app): State<AppState>, Path(id): Path<String>) -> Answer<()> {
    find(&app, &id)?.cancel();
    Ok(Json(()))
}

/// An operation's events from the first one on, one JSON object a line.
#[utoipa::path(
    get, path = "/v1/operations/{id}/events",
    responses((status = 200, body = Event, content_type = "application/x-ndjson"), (status = 404, body = ApiError))
)]
pub(super) async fn events(State(app): State<AppState>, Path(id): Path<String>) -> Result<Response, Failure> {
    Ok(event_stream(find(&app, &id)?, None::<Lease>))
}

fn find(app: &AppState, id: &str) -> Result<Arc<Operation>, Failure> {
    app.operations().get(id).ok_or_else(|| {
        let error = ApiError::new(ErrorCode::NotFound, format!("there is no operation {id:?}"));
        error.with_hint("only the last 64 are remembered").into()
    })
}

fn to_api(operation: &Operation) -> operation::Operation {
    operation::Operation {
        id: operation.id.clone(),
        title: operation.title.clone(),
        started_at_unix_ms: operation.started_at_unix_ms,
        done: operation.done(),
    }
}

/// Runs something when the connection it came over is gone.
pub(super) struct Lease(Option<Box<dyn FnOnce() + Send>>);

impl Lease {
    pub(super) fn new(when_gone: impl FnOnce() + Send + 'static) -> Self {
        Self(Some(Box::new(when_gone)))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(when_gone) = self.0.take() {
            when_gone();
        }
    }
}

/// Runs work that goes on when its client leaves, and answers with its events.
pub(super) fn run<T, E, F>(app: &AppState, title: String, work: impl FnOnce(Reporter) -> F) -> Response
where
    T: Serialize,
    E: Into<Failure>,
    F: Future<Output = Result<T, E>> + Send + 'static,
{
    let operation = app.operations().spawn(title, |reporter| {
        let work = work(reporter);
        async move { work.await.map_err(|error| error.into().0) }
    });
    event_stream(operation, None)
}

/// Answers with the operation's events. With a lease, the stream stays open after the last one, and what was
/// leased goes when the client does.
pub(super) fn event_stream(operation: Arc<Operation>, lease: Option<Lease>) -> Response {
    let state = (operation, 0, lease);
    let lines = stream::unfold(state, |(operation, index, lease)| async move {
        match tokio::time::timeout(KEEP_ALIVE, operation.event(index)).await {
            Ok(Some(event)) => {
                let mut line = serde_json::to_vec(&event).unwrap_or_default();
                line.push(b'\n');
                Some((Ok::<_, std::convert::Infallible>(Bytes::from(line)), (operation, index + 1, lease)))
            }
            Ok(None) if lease.is_none() => None,
            Ok(None) => {
                tokio::time::sleep(KEEP_ALIVE).await;
                Some((Ok(Bytes::from_static(b"\n")), (operation, index, lease)))
            }
            Err(_) => Some((Ok(Bytes::from_static(b"\n")), (operation, index, lease))),
        }
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(lines)).into_response()
}
