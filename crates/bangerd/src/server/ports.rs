use std::time::Duration;

use axum::Json;
use axum::body::Body as Content;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use banger_api::ApiError;
use banger_api::ports::{ForwardEvent, ForwardPorts, VmPorts};
use bytes::Bytes;
use futures_util::stream;

use super::access::Body;
use super::error::{Answer, Failure};
use super::state::{AppState, Session};
use crate::vm::{ForwardSession, VmError, ports_report};

/// How often a silent stream says that it is still there, and notices that nobody reads it.
const KEEP_ALIVE: Duration = Duration::from_secs(1);

/// What listens in the VM, and where the host reaches it. TCP listeners are connected to, to find out what
/// they speak; that takes up to a second.
#[utoipa::path(
    get, path = "/v1/vms/{vm}/ports",
    responses((status = 200, body = VmPorts), (status = 404, body = ApiError), (status = 409, body = ApiError))
)]
pub(super) async fn ports(State(app): State<AppState>, Path(vm): Path<String>) -> Answer<VmPorts> {
    let ports = app.vms.find(&vm)?.guest()?.ports().await.map_err(VmError::Guest)?;
    let named = app.dns.names_are_found().await;
    // Forwards may have changed meanwhile.
    Ok(Json(ports_report(&app.vms.find(&vm)?, ports, named)))
}

/// Forwards ports for as long as the answer is read. Answers with what happens to them, one JSON object a
/// line.
#[utoipa::path(
    post, path = "/v1/vms/{vm}/forward", request_body = ForwardPorts,
    responses(
        (status = 200, body = ForwardEvent, content_type = "application/x-ndjson"),
        (status = 404, body = ApiError), (status = 409, body = ApiError)
    )
)]
pub(super) async fn forward(
    State(app): State<AppState>,
    Path(vm): Path<String>,
    body: Body<ForwardPorts>,
) -> Result<Response, Failure> {
    let view = app.vms.find(&vm)?;
    let wanted: Vec<_> = body.0.ports.iter().copied().map(Into::into).collect();
    let forwards = view.forwards()?.session(&wanted, body.0.auto).map_err(VmError::forward)?;
    let forwarding = Forwarding {
        forwards,
        app: app.clone(),
        id: view.row.id.to_string(),
        _session: app.sessions.enter(),
    };
    let lines = stream::unfold(Some(forwarding), |forwarding| async move {
        let mut forwarding = forwarding?;
        let stopping = forwarding.app.stopping.clone();
        let next = tokio::select! {
            next = tokio::time::timeout(KEEP_ALIVE, forwarding.forwards.next()) => next,
            () = stopping.cancelled() => return None,
        };
        let (line, rest) = match next {
            Err(_) => (Bytes::from_static(b"\n"), Some(forwarding)),
            Ok(Some(event)) => (line(&event), Some(forwarding)),
            Ok(None) => (line(&ForwardEvent::Ended { why: forwarding.why().await }), None),
        };
        Some((Ok::<_, std::convert::Infallible>(line), rest))
    });
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Content::from_stream(lines)).into_response())
}

struct Forwarding {
    forwards: ForwardSession,
    app: AppState,
    id: String,
    _session: Session,
}

impl Forwarding {
    /// Why the VM's forwards have ended.
    async fn why(&self) -> String {
        match self.app.vms.find(&self.id) {
            Ok(view) => {
                let name = &view.row.name;
                let why = view.last_error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
                format!("VM {:?} is {}{why}", name.as_str(), view.api_state())
            }
            Err(error) => error.to_string(),
        }
    }
}

fn line(event: &ForwardEvent) -> Bytes {
    // It is plain data, which always serialises; a blank line means nothing.
    let mut line = serde_json::to_vec(event).unwrap_or_default();
    line.push(b'\n');
    line.into()
}
