//! Who may talk to the daemon, and in which words.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequest, FromRequestParts, Query, Request, State};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use banger_api::environment::{ENVIRONMENT_HEADER, from_header};
use banger_api::record::STATE_HEADER;
use banger_api::{ApiError, BUILD_HEADER, Build, ErrorCode};
use banger_host::sandbox::peer::Origin;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::net::unix::SocketAddr;

use super::error::Failure;
use super::presence::Listener;
use crate::download::Environment;
use crate::vm::Vms;

/// Accepts connections of the daemon's own user only, and of no VMM. The socket's directory keeps others out
/// already, and the sandbox the VMMs; this holds even where somebody changed its mode, or a hole was found.
pub(super) struct OwnUserListener {
    pub(super) socket: Listener,
    pub(super) vms: Vms,
}

impl OwnUserListener {
    fn may_talk(&self, stream: &UnixStream) -> bool {
        let peer = match stream.peer_cred() {
            Ok(peer) => peer,
            Err(error) => {
                tracing::warn!(%error, "refused a connection of unknown origin");
                return false;
            }
        };
        if peer.uid() != banger_host::system::uid() {
            tracing::warn!(uid = peer.uid(), "refused another user's connection");
            return false;
        }
        // Without a number it is in another pid namespace, and no VMM: theirs is ours.
        let pid = peer.pid().filter(|pid| *pid > 0);
        match pid.map_or(Origin::Elsewhere, |pid| self.vms.origin(pid)) {
            Origin::Elsewhere => true,
            Origin::Confined => {
                tracing::warn!(pid, "refused the connection of a VMM");
                false
            }
            Origin::Gone => {
                tracing::warn!(pid, "refused the connection of a process that has ended");
                false
            }
        }
    }
}

impl axum::serve::Listener for OwnUserListener {
    type Io = UnixStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (UnixStream, SocketAddr) {
        loop {
            match self.socket.accept().await {
                Ok((stream, address)) if self.may_talk(&stream) => return (stream, address),
                Ok(_) => {}
                Err(error) => {
                    // Out of descriptors, most likely: time heals that, and a busy loop does not.
                    tracing::error!(%error, "could not accept a connection");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// Refuses requests of another build's client, but for those it needs to replace this daemon.
pub(super) async fn same_build(request: Request, next: Next) -> Response {
    let own = Build::current();
    let caller = request.headers().get(BUILD_HEADER).and_then(|value| value.to_str().ok());
    let matches = caller.is_none_or(|caller| caller == format!("{} {}", own.version, own.commit));
    if matches || request.uri().path().starts_with("/v1/daemon") {
        return next.run(request).await;
    }
    let error =
        ApiError::new(ErrorCode::VersionMismatch, format!("bangerd is of build {own}, its client is not"))
            .because(format!("the client is of build {}", caller.unwrap_or("unknown")))
            .with_hint("`banger daemon stop`; the next command starts the daemon that belongs to it");
    Failure(error).into_response()
}

/// Refuses requests that are meant for the daemon of another state directory.
pub(super) async fn same_state(State(own): State<Arc<str>>, request: Request, next: Next) -> Response {
    let meant = request.headers().get(STATE_HEADER);
    if meant.is_none_or(|meant| meant.as_bytes() == own.as_bytes()) {
        return next.run(request).await;
    }
    let error = ApiError::new(ErrorCode::Refused, "this is the bangerd of another state directory");
    (StatusCode::MISDIRECTED_REQUEST, Json(error)).into_response()
}

/// Answers a request in its client's environment, as far as the network is concerned.
pub(super) async fn as_the_caller(request: Request, next: Next) -> Response {
    let Some(sent) = request.headers().get(ENVIRONMENT_HEADER) else { return next.run(request).await };
    match sent.to_str().ok().and_then(from_header) {
        Some(variables) => Environment::of_client(variables).scope(next.run(request)).await,
        None => {
            let message = format!("the request's header {ENVIRONMENT_HEADER} is not as it must be");
            Failure(ApiError::new(ErrorCode::Usage, message)).into_response()
        }
    }
}

/// The answer to a path that leads nowhere.
pub(super) async fn nothing_there(uri: Uri) -> Failure {
    Failure(ApiError::new(ErrorCode::NotFound, format!("bangerd has nothing at {}", uri.path())))
}

/// The answer to a method that a path does not know.
pub(super) async fn not_done_there(method: Method, uri: Uri) -> Failure {
    Failure(ApiError::new(ErrorCode::Usage, format!("bangerd cannot {method} {}", uri.path())))
}

/// A JSON body; an absent one is an empty object. Errors are [`ApiError`]s, as everywhere.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(mut request: Request, state: &S) -> Result<Self, Failure> {
        let refuse = |error: &dyn std::error::Error| {
            Failure(
                ApiError::from_error(ErrorCode::Usage, error)
                    .because("the request's body is not as it must be"),
            )
        };
        let empty = request.headers().get(header::CONTENT_LENGTH).is_none_or(|length| length == "0");
        if empty && request.headers().get(header::TRANSFER_ENCODING).is_none() {
            return serde_json::from_str("{}").map(Self).map_err(|error| refuse(&error));
        }
        // `curl -d` names another type unless told otherwise, and there is only one that we take.
        request
            .headers_mut()
            .insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
        Json::from_request(request, state).await.map(|Json(body)| Self(body)).map_err(|error| refuse(&error))
    }
}

/// The query of a request. Errors are [`ApiError`]s, as everywhere.
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        Query::try_from_uri(&parts.uri).map(|Query(params)| Self(params)).map_err(|error| {
            let refusal = ApiError::new(ErrorCode::Usage, "the request's query is not as it must be");
            Failure(refusal.because(error.body_text()))
        })
    }
}

/// A path of the client's. The daemon has a working directory of its own.
pub(super) fn absolute(path: String) -> Result<PathBuf, Failure> {
    match path.starts_with('/') {
        true => Ok(path.into()),
        false => Err(ApiError::new(ErrorCode::Usage, format!("the path {path} is not absolute")).into()),
    }
}
