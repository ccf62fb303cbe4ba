//! The HTTP API: routes, and how failures are told.

use std::error::Error;
use std::sync::Arc;

use banger_guest_protocol::UPGRADE_TOKEN;
use banger_guest_protocol::messages::{Configure, GuestError, Phase, Shutdown};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue, UPGRADE};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::agent::Agent;
use crate::{configure, console, exec, shutdown};

/// Largest JSON body, in bytes: files to write into the guest are part of it.
const BODY_MAX_LEN: usize = 64 * 1024 * 1024;

type Answer = Response<Full<Bytes>>;

/// Answers one request.
pub async fn answer(request: Request<Incoming>, agent: &Arc<Agent>) -> Answer {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/v1/health") => json(StatusCode::OK, &agent.health()),
        (&Method::POST, "/v1/configure") => configure(request, agent).await,
        (&Method::GET, "/v1/exec") => exec(request, agent),
        (&Method::POST, "/v1/shutdown") => shut_down(request, agent).await,
        (_, "/v1/health" | "/v1/exec") => method_not_allowed("GET"),
        (_, "/v1/configure" | "/v1/shutdown") => method_not_allowed("POST"),
        (_, path) => refuse(StatusCode::NOT_FOUND, &format!("the agent has no {path}")),
    }
}

async fn configure(request: Request<Incoming>, agent: &Arc<Agent>) -> Answer {
    let wanted: Configure = match body(request).await {
        Ok(wanted) => wanted,
        Err(refusal) => return *refusal,
    };
    if !agent.advance(Phase::AwaitingConfigure, Phase::Configuring) {
        return refuse(StatusCode::CONFLICT, "the guest is configured already");
    }
    let supervisor = agent.supervisor();
    // Mounts and module loading block, and the agent must stay reachable meanwhile.
    let done = tokio::task::spawn_blocking(move || configure::configure(&wanted, &supervisor)).await;
    let failure: Box<dyn Error> = match done {
        Ok(Ok(configured)) => {
            agent.set_image_init(configured.init.clone());
            // A shutdown that was asked for meanwhile keeps its phase.
            agent.advance(Phase::Configuring, Phase::Ready);
            return json(StatusCode::OK, &configured);
        }
        Ok(Err(error)) => error.into(),
        Err(error) => error.into(),
    };
    console::say(format_args!("configure failed: {}", console::one_line(&*failure)));
    fail(StatusCode::INTERNAL_SERVER_ERROR, &*failure)
}

fn exec(mut request: Request<Incoming>, agent: &Arc<Agent>) -> Answer {
    let wants_upgrade = request.headers().get(UPGRADE).is_some_and(|token| token == UPGRADE_TOKEN);
    if !wants_upgrade {
        return refuse(StatusCode::UPGRADE_REQUIRED, &format!("exec needs `Upgrade: {UPGRADE_TOKEN}`"));
    }
    match agent.phase() {
        Phase::Ready => {}
        Phase::ShuttingDown => return refuse(StatusCode::CONFLICT, "the guest is shutting down"),
        Phase::AwaitingConfigure | Phase::Configuring => {
            return refuse(StatusCode::CONFLICT, "the guest has no root filesystem to run commands in");
        }
    }
    let agent = Arc::clone(agent);
    tokio::spawn(async move {
        // An upgrade fails when the host hung up in between; then there is nobody to run for.
        if let Ok(upgraded) = hyper::upgrade::on(&mut request).await {
            exec::serve(TokioIo::new(upgraded), agent.execs()).await;
        }
    });
    let mut answer = Answer::default();
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    answer.headers_mut().insert(UPGRADE, HeaderValue::from_static(UPGRADE_TOKEN));
    answer
}

async fn shut_down(request: Request<Incoming>, agent: &Arc<Agent>) -> Answer {
    let wanted: Shutdown = match body(request).await {
        Ok(wanted) => wanted,
        Err(refusal) => return *refusal,
    };
    if agent.begin_shutdown() {
        tokio::spawn(shutdown::run(Arc::clone(agent), wanted));
    }
    let mut answer = Answer::default();
    *answer.status_mut() = StatusCode::ACCEPTED;
    answer
}

async fn body<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, Box<Answer>> {
    let refused = |error: &dyn Error| fail(StatusCode::BAD_REQUEST, error);
    let bytes = match Limited::new(request.into_body(), BODY_MAX_LEN).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) => return Err(Box::new(refused(&*error))),
    };
    serde_json::from_slice(&bytes).map_err(|error| Box::new(refused(&error)))
}

fn method_not_allowed(allowed: &'static str) -> Answer {
    let mut answer = refuse(StatusCode::METHOD_NOT_ALLOWED, &format!("only {allowed} is answered here"));
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    answer
}

fn refuse(status: StatusCode, message: &str) -> Answer {
    json(status, &GuestError { message: message.to_owned(), causes: Vec::new() })
}

fn fail(status: StatusCode, error: &dyn Error) -> Answer {
    json(status, &GuestError { message: error.to_string(), causes: console::causes(error) })
}

fn json<T: Serialize>(status: StatusCode, value: &T) -> Answer {
    // Our messages are plain data, which always serialises; an empty body is still better than no answer.
    let mut answer = Response::new(Full::from(serde_json::to_vec(value).unwrap_or_default()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}
