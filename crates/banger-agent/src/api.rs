//! The HTTP API: routes, and how failures are told.

use std::error::Error;
use std::io;
use std::sync::Arc;

use banger_guest_protocol::frame::ExecSpec;
use banger_guest_protocol::import::Begin;
use banger_guest_protocol::messages::{
    Configure, FileAt, GuestError, GuestErrorKind, Identity, Pack, Phase, Shutdown, Unpack,
};
use banger_guest_protocol::ports::PortsQuery;
use banger_guest_protocol::{QueryError, UPGRADE_TOKEN};
use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HeaderValue, UPGRADE};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use crate::agent::Agent;
use crate::files::{self, FileError};
use crate::workspace::{self, WorkspaceError};
use crate::{configure, console, exec, forward, ports, shutdown, ssh};

/// Largest JSON body, in bytes: files to write into the guest are part of it.
const BODY_MAX_LEN: usize = 64 * 1024 * 1024;

type Answer = Response<BoxBody<Bytes, io::Error>>;

/// Answers one request.
pub async fn answer(request: Request<Incoming>, agent: &Arc<Agent>) -> Answer {
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/v1/health") => json(StatusCode::OK, &agent.health()),
        (&Method::POST, "/v1/configure") => configure(request, agent).await,
        (&Method::POST, "/v1/identity") => identify(request, agent).await,
        (&Method::GET, "/v1/exec") => exec(request, agent),
        (&Method::GET, "/v1/ssh") => ssh(request, agent).await,
        (&Method::GET, "/v1/ports") => list_ports(&request, agent).await,
        (&Method::GET, "/v1/ports/watch") => watch_ports(agent),
        (&Method::GET, "/v1/forward") => forward(request, agent).await,
        (&Method::POST, "/v1/shutdown") => shut_down(request, agent).await,
        (&Method::POST, "/v1/files/unpack") => unpack(request, agent).await,
        (&Method::GET, "/v1/files/pack") => pack(&request, agent).await,
        (&Method::GET, "/v1/files/stat") => stat(&request, agent).await,
        (&Method::POST, "/v1/files/sync") => sync(&request, agent).await,
        (
            _,
            "/v1/health" | "/v1/exec" | "/v1/ssh" | "/v1/files/pack" | "/v1/files/stat" | "/v1/ports"
            | "/v1/ports/watch" | "/v1/forward",
        ) => method_not_allowed("GET"),
        (&Method::POST, "/v1/workspace/begin") => begin_workspace(request, agent).await,
        (&Method::POST, "/v1/workspace/finish") => finish_workspace(request, agent).await,
        (
            _,
            "/v1/configure"
            | "/v1/identity"
            | "/v1/shutdown"
            | "/v1/files/unpack"
            | "/v1/files/sync"
            | "/v1/workspace/begin"
            | "/v1/workspace/finish",
        ) => method_not_allowed("POST"),
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
    agent.former_identity().remember(&wanted.identity);
    // Mounts and module loading block, and the agent must stay reachable meanwhile.
    let done = tokio::task::spawn_blocking(move || configure::configure(&wanted, &supervisor)).await;
    let failure: Box<dyn Error> = match done {
        Ok(Ok(configured)) => {
            agent.set_image_init(configured.init);
            agent.execs().set_image_defaults(configured.image);
            // A shutdown that was asked for meanwhile keeps its phase.
            agent.advance(Phase::Configuring, Phase::Ready);
            return json(StatusCode::OK, &configured.answer);
        }
        Ok(Err(error)) => error.into(),
        Err(error) => error.into(),
    };
    console::say(format_args!("configure failed: {}", console::one_line(&*failure)));
    fail(StatusCode::INTERNAL_SERVER_ERROR, &*failure)
}

async fn identify(request: Request<Incoming>, agent: &Arc<Agent>) -> Answer {
    if let Err(refusal) = ready(agent) {
        return *refusal;
    }
    let wanted: Identity = match body(request).await {
        Ok(wanted) => wanted,
        Err(refusal) => return *refusal,
    };
    let agent = Arc::clone(agent);
    let identify = move || configure::identify(&wanted, agent.former_identity());
    let failure: Box<dyn Error> = match tokio::task::spawn_blocking(identify).await {
        Ok(Ok(identified)) => return json(StatusCode::OK, &identified),
        Ok(Err(error)) => error.into(),
        Err(error) => error.into(),
    };
    fail(StatusCode::INTERNAL_SERVER_ERROR, &*failure)
}

fn exec(request: Request<Incoming>, agent: &Arc<Agent>) -> Answer {
    match wants_stream(&request, agent) {
        Ok(()) => run(request, agent, None),
        Err(refusal) => *refusal,
    }
}

async fn ssh(request: Request<Incoming>, agent: &Arc<Agent>) -> Answer {
    if let Err(refusal) = wants_stream(&request, agent) {
        return *refusal;
    }
    let identity = agent.former_identity().ssh();
    match tokio::task::spawn_blocking(move || ssh::prepare(&identity)).await {
        Ok(Ok(server)) => run(request, agent, Some(server)),
        Ok(Err(error)) => {
            let (causes, kind) = (console::causes(&error), GuestErrorKind::Refused);
            json(StatusCode::CONFLICT, &GuestError { message: error.to_string(), causes, kind })
        }
        Err(error) => fail(StatusCode::INTERNAL_SERVER_ERROR, &error),
    }
}

fn wants_stream(request: &Request<Incoming>, agent: &Agent) -> Result<(), Box<Answer>> {
    wants_upgrade(request).and_then(|()| ready(agent))
}

/// Upgrades the request to the stream of a command: `own`, or the one that its client names.
fn run(mut request: Request<Incoming>, agent: &Arc<Agent>, own: Option<ExecSpec>) -> Answer {
    let agent = Arc::clone(agent);
    tokio::spawn(async move {
        // An upgrade fails when the host hung up in between; then there is nobody to run for.
        if let Ok(upgraded) = hyper::upgrade::on(&mut request).await {
            exec::serve(TokioIo::new(upgraded), agent.execs(), own).await;
        }
    });
    switching()
}

async fn forward(mut request: Request<Incoming>, agent: &Agent) -> Answer {
    if let Err(refusal) = wants_stream(&request, agent) {
        return *refusal;
    }
    let query = request.uri().query().unwrap_or_default();
    let Some(port) = query.strip_prefix("port=").and_then(|port| port.parse().ok()) else {
        return refuse(StatusCode::BAD_REQUEST, "forward needs the query `port=N`");
    };
    match forward::connect(port).await {
        Ok(connection) => {
            tokio::spawn(async move {
                // When the host hung up in between, the connection goes.
                if let Ok(upgraded) = hyper::upgrade::on(&mut request).await {
                    forward::serve(connection, TokioIo::new(upgraded)).await;
                }
            });
            switching()
        }
        Err(error) => {
            let (kind, causes) = (GuestErrorKind::Refused, console::causes(&error));
            json(StatusCode::CONFLICT, &GuestError { message: error.to_string(), causes, kind })
        }
    }
}

fn wants_upgrade(request: &Request<Incoming>) -> Result<(), Box<Answer>> {
    if request.headers().get(UPGRADE).is_some_and(|token| token == UPGRADE_TOKEN) {
        return Ok(());
    }
    let message = format!("{} needs `Upgrade: {UPGRADE_TOKEN}`", request.uri().path());
    Err(Box::new(refuse(StatusCode::UPGRADE_REQUIRED, &message)))
}

fn switching() -> Answer {
    let mut answer = Answer::default();
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
    answer.headers_mut().insert(UPGRADE, HeaderValue::from_static(UPGRADE_TOKEN));
    answer
}

async fn list_ports(request: &Request<Incoming>, agent: &Agent) -> Answer {
    let how = match query_of(request, agent, PortsQuery::from_query) {
        Ok(how) => how,
        Err(refusal) => return *refusal,
    };
    match ports::look(how).await {
        Ok(ports) => json(StatusCode::OK, &ports),
        Err(error) => fail(StatusCode::INTERNAL_SERVER_ERROR, &error),
    }
}

fn watch_ports(agent: &Agent) -> Answer {
    match ready(agent) {
        Ok(()) => json_lines(ports::watch()),
        Err(refusal) => *refusal,
    }
}

/// Refuses what needs the guest's root while there is none.
fn ready(agent: &Agent) -> Result<(), Box<Answer>> {
    let reason = match agent.phase() {
        Phase::Ready => return Ok(()),
        Phase::ShuttingDown => "the guest is shutting down",
        Phase::AwaitingConfigure | Phase::Configuring => "the guest has no root filesystem yet",
    };
    Err(Box::new(refuse(StatusCode::CONFLICT, reason)))
}

async fn unpack(request: Request<Incoming>, agent: &Agent) -> Answer {
    match query_of(&request, agent, Unpack::from_query) {
        Ok(what) => {
            file_answer(files::unpack(what, request.into_body()).await, |done| json(StatusCode::OK, &done))
        }
        Err(refusal) => *refusal,
    }
}

async fn pack(request: &Request<Incoming>, agent: &Agent) -> Answer {
    match query_of(request, agent, Pack::from_query) {
        Ok(what) => file_answer(files::pack(what).await, |body| {
            let mut answer = Response::new(body);
            answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-tar"));
            answer
        }),
        Err(refusal) => *refusal,
    }
}

async fn stat(request: &Request<Incoming>, agent: &Agent) -> Answer {
    match query_of(request, agent, FileAt::from_query) {
        Ok(what) => file_answer(files::stat(what).await, |found| json(StatusCode::OK, &found)),
        Err(refusal) => *refusal,
    }
}

async fn sync(request: &Request<Incoming>, agent: &Agent) -> Answer {
    match query_of(request, agent, FileAt::from_query) {
        Ok(what) => file_answer(files::sync(what).await, |()| json(StatusCode::OK, &())),
        Err(refusal) => *refusal,
    }
}

/// The request's query, when the guest can answer it.
fn query_of<T>(
    request: &Request<Incoming>,
    agent: &Agent,
    parse: impl Fn(&str) -> Result<T, QueryError>,
) -> Result<T, Box<Answer>> {
    ready(agent)?;
    let query = request.uri().query().unwrap_or_default();
    parse(query).map_err(|error| Box::new(fail(StatusCode::BAD_REQUEST, &error)))
}

fn file_answer<T>(outcome: Result<T, FileError>, answer: impl FnOnce(T) -> Answer) -> Answer {
    let error = match outcome {
        Ok(done) => return answer(done),
        Err(error) => error,
    };
    let kind = error.kind();
    let status = match kind {
        GuestErrorKind::NotFound => StatusCode::NOT_FOUND,
        GuestErrorKind::Refused => StatusCode::CONFLICT,
        GuestErrorKind::Failed => StatusCode::INTERNAL_SERVER_ERROR,
    };
    json(status, &GuestError { message: error.to_string(), causes: console::causes(&error), kind })
}

async fn begin_workspace(request: Request<Incoming>, agent: &Agent) -> Answer {
    if let Err(refusal) = ready(agent) {
        return *refusal;
    }
    let wanted: Begin = match body(request).await {
        Ok(wanted) => wanted,
        Err(refusal) => return *refusal,
    };
    match tokio::task::spawn_blocking(move || workspace::begin(&wanted)).await {
        Ok(Ok(begun)) => json(StatusCode::OK, &begun),
        Ok(Err(error)) => workspace_failure(&error),
        Err(error) => fail(StatusCode::INTERNAL_SERVER_ERROR, &error),
    }
}

async fn finish_workspace(request: Request<Incoming>, agent: &Agent) -> Answer {
    if let Err(refusal) = ready(agent) {
        return *refusal;
    }
    json_lines(workspace::finish(request.into_body()))
}

/// Answers with a line for each event, as they come.
fn json_lines<T: Serialize + Send + 'static>(mut events: mpsc::Receiver<T>) -> Answer {
    let line = |event| {
        let mut line = serde_json::to_vec(&event).map_err(io::Error::other)?;
        line.push(b'\n');
        Ok(Frame::data(Bytes::from(line)))
    };
    let lines = futures_util::stream::poll_fn(move |cx| events.poll_recv(cx).map(|event| event.map(line)));
    let mut answer = Response::new(StreamBody::new(lines).boxed());
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    answer
}

fn workspace_failure(error: &WorkspaceError) -> Answer {
    let guest_error = error.to_guest_error();
    let status = match guest_error.kind {
        GuestErrorKind::Refused => StatusCode::CONFLICT,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    json(status, &guest_error)
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
    let kind = GuestErrorKind::Failed;
    json(status, &GuestError { message: message.to_owned(), causes: Vec::new(), kind })
}

fn fail(status: StatusCode, error: &dyn Error) -> Answer {
    let kind = GuestErrorKind::Failed;
    json(status, &GuestError { message: error.to_string(), causes: console::causes(error), kind })
}

fn json<T: Serialize>(status: StatusCode, value: &T) -> Answer {
    // Our messages are plain data, which always serialises; an empty body is still better than no answer.
    let body = Full::from(serde_json::to_vec(value).unwrap_or_default());
    let mut answer = Response::new(body.map_err(|never| match never {}).boxed());
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}
