//! Which requests are being answered, and for how long they may be.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use banger_api::{ApiError, ErrorCode};

use super::error::Failure;

/// Until the answer begins. Most need milliseconds; a guest may take its [`crate::guest`] limits.
const USUAL_LIMIT: Duration = Duration::from_secs(60);

/// What asks the network or git, or removes large files.
const SLOW_LIMIT: Duration = Duration::from_secs(600);

/// The requests under way.
#[derive(Clone, Default)]
pub(super) struct UnderWay(Arc<Mutex<Numbered>>);

#[derive(Default)]
struct Numbered {
    next: u64,
    requests: BTreeMap<u64, (String, Instant)>,
}

impl UnderWay {
    fn enter(&self, what: String) -> Entered<'_> {
        let mut numbered = self.lock();
        numbered.next += 1;
        let number = numbered.next;
        numbered.requests.insert(number, (what, Instant::now()));
        Entered { under_way: self, number }
    }

    /// Each with its age, oldest first.
    pub(super) fn in_words(&self) -> Vec<String> {
        let requests = self.lock();
        let in_words =
            |(what, since): &(String, Instant)| format!("{what} ({} s)", since.elapsed().as_secs());
        requests.requests.values().map(in_words).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Numbered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Entered<'a> {
    under_way: &'a UnderWay,
    number: u64,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.under_way.lock().requests.remove(&self.number);
    }
}

/// Answers within the request's limit, if need be with an error. What comes after the beginning of an answer
/// (events, logs, archives) has a heartbeat or limits of its own.
pub(super) async fn within_limit(
    State(under_way): State<UnderWay>,
    request: Request,
    next: Next,
) -> Response {
    let what = format!("{} {}", request.method(), request.uri().path());
    let limit = limit(request.method(), request.uri().path());
    let _entered = under_way.enter(what.clone());
    let Some(limit) = limit else { return next.run(request).await };
    match tokio::time::timeout(limit, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            tracing::error!(what, limit_s = limit.as_secs(), "a request took too long and was given up");
            let message = format!("bangerd did not answer {what} within {} s", limit.as_secs());
            let error = ApiError::new(ErrorCode::Failed, message).with_hint("see why: banger daemon logs");
            Failure(error).into_response()
        }
    }
}

/// None for a body that may be as long as it likes: it flows, or its own limits end it.
fn limit(method: &Method, path: &str) -> Option<Duration> {
    let segments: Vec<&str> = path.trim_start_matches("/v1/").split('/').collect();
    match (method, &segments[..]) {
        (&Method::PUT, ["vms", _, "files"]) => None,
        (&Method::POST, ["vms"] | ["workspaces", _] | ["images" | "kernels", ..]) => Some(SLOW_LIMIT),
        (&Method::POST, ["vms", _, "workspace"]) => Some(SLOW_LIMIT),
        (_, ["images" | "kernels" | "catalogs" | "lost-found", ..]) => Some(SLOW_LIMIT),
        (_, ["vms", _, "staleness"]) => Some(SLOW_LIMIT),
        _ => Some(USUAL_LIMIT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_but_uploads_has_a_limit() {
        assert_eq!(limit(&Method::PUT, "/v1/vms/x/files"), None);
        for (method, path, expected) in [
            (Method::GET, "/v1/vms", USUAL_LIMIT),
            (Method::GET, "/v1/vms/x/health", USUAL_LIMIT),
            (Method::GET, "/v1/vms/x/files", USUAL_LIMIT),
            (Method::POST, "/v1/vms", SLOW_LIMIT),
            (Method::POST, "/v1/vms/x/stop", USUAL_LIMIT),
            (Method::POST, "/v1/images/prune", SLOW_LIMIT),
            (Method::DELETE, "/v1/kernels/k", SLOW_LIMIT),
            (Method::GET, "/nowhere", USUAL_LIMIT),
        ] {
            assert_eq!(limit(&method, path), Some(expected), "{method} {path}");
        }
    }

    #[test]
    fn what_is_under_way_is_shown_until_it_is_not() {
        let under_way = UnderWay::default();
        let entered = under_way.enter("GET /v1/vms".into());
        assert_eq!(under_way.in_words(), ["GET /v1/vms (0 s)"]);
        drop(entered);
        assert!(under_way.in_words().is_empty());
    }
}
