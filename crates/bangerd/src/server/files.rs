use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{Uri, header};
use axum::response::{IntoResponse as _, Response};
use banger_api::files::{FileAt, FileStat, Pack, Unpack, Unpacked};
use banger_api::{ApiError, ErrorCode, QueryError};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use tokio::sync::mpsc;

use super::error::{Answer, Failure};
use super::state::AppState;
use crate::vm::VmError;

/// Pieces of an archive between client and guest.
const QUEUED_PIECES: usize = 4;

/// Unpacks the tar stream in the body below a directory of a running VM. Owners are ignored; what is in the
/// way of a file is replaced. A failed copy leaves what was written before, but no directory that was made
/// for it and no half-written file.
#[utoipa::path(
    put, path = "/v1/vms/{vm}/files",
    params(
        ("dir" = String, Query, description = "An absolute path, percent-encoded"),
        ("create" = Option<bool>, Query, description = "Make the directory, which must not be there yet; else it must be there"),
    ),
    request_body(content = [u8], content_type = "application/x-tar"),
    responses(
        (status = 200, body = Unpacked), (status = 400, body = ApiError), (status = 404, body = ApiError),
        (status = 409, body = ApiError)
    )
)]
pub(super) async fn unpack(
    State(app): State<AppState>,
    Path(vm): Path<String>,
    uri: Uri,
    body: Body,
) -> Answer<Unpacked> {
    let what = Unpack::from_query(uri.query().unwrap_or_default()).map_err(bad_query)?;
    let guest = app.vms.find(&vm)?.guest()?;
    let _session = app.sessions.enter();
    let (pieces, mut inbox) = mpsc::channel(QUEUED_PIECES);
    tokio::spawn(feed(body, pieces));
    let archive = stream::poll_fn(move |cx| inbox.poll_recv(cx));
    tokio::select! {
        done = guest.unpack(&what, archive) => Ok(Json(done.map_err(VmError::Guest)?.into())),
        () = app.stopping.cancelled() => Err(stopping().into()),
    }
}

/// Passes a body on. Once nobody takes it any more, it is still read: a client that is busy sending looks for
/// an answer only while that goes on.
async fn feed(body: Body, pieces: mpsc::Sender<Result<Bytes, axum::Error>>) {
    let mut body = body.into_data_stream();
    while let Some(piece) = body.next().await {
        let broken = piece.is_err();
        // See above: who does not take it has its own reason, and tells it.
        let _taken = pieces.send(piece).await;
        if broken {
            return;
        }
    }
}

/// A file or directory tree of a running VM as a tar stream, without what other file systems hold that are
/// mounted in it. What could not be read is told in global headers (`BANGER.*`). An answer that breaks off is
/// no archive.
#[utoipa::path(
    get, path = "/v1/vms/{vm}/files",
    params(
        ("path" = String, Query, description = "An absolute path, percent-encoded. With `/.` at its end: the content of a directory"),
        ("follow" = Option<bool>, Query, description = "Pack what symlinks lead to in their places"),
    ),
    responses(
        (status = 200, body = [u8], content_type = "application/x-tar"), (status = 400, body = ApiError),
        (status = 404, body = ApiError), (status = 409, body = ApiError)
    )
)]
pub(super) async fn pack(
    State(app): State<AppState>,
    Path(vm): Path<String>,
    uri: Uri,
) -> Result<Response, Failure> {
    let what = Pack::from_query(uri.query().unwrap_or_default()).map_err(bad_query)?;
    let archive = app.vms.find(&vm)?.guest()?.pack(&what).await.map_err(VmError::Guest)?;
    let held = (app.sessions.enter(), app.stopping.clone());
    let pieces = stream::try_unfold((archive, held), |(mut archive, held)| async move {
        let piece = tokio::select! {
            piece = archive.next() => piece.transpose().map_err(std::io::Error::other)?,
            () = held.1.cancelled() => return Err(std::io::Error::other(stopping())),
        };
        Ok(piece.map(|piece| (piece, (archive, held))))
    });
    let headers = [(header::CONTENT_TYPE, "application/x-tar")];
    Ok((headers, Body::from_stream(pieces)).into_response())
}

/// What is at a path in a running VM.
#[utoipa::path(
    get, path = "/v1/vms/{vm}/files/stat",
    params(("path" = String, Query, description = "An absolute path, percent-encoded")),
    responses(
        (status = 200, body = FileStat), (status = 400, body = ApiError), (status = 404, body = ApiError),
        (status = 409, body = ApiError)
    )
)]
pub(super) async fn stat(State(app): State<AppState>, Path(vm): Path<String>, uri: Uri) -> Answer<FileStat> {
    let what = FileAt::from_query(uri.query().unwrap_or_default()).map_err(bad_query)?;
    let found = app.vms.find(&vm)?.guest()?.file_stat(&what).await.map_err(VmError::Guest)?;
    Ok(Json(found.into()))
}

fn bad_query(error: QueryError) -> Failure {
    ApiError::from_error(ErrorCode::Usage, &error).into()
}

fn stopping() -> ApiError {
    ApiError::new(ErrorCode::Cancelled, "bangerd was stopped while files were copied")
}
