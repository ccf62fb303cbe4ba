use std::sync::Arc;

use axum::Json;
use axum::body::Body as AxumBody;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use banger_api::workspace::{
    Branch, Change, ChangedFile, Export, ExportWorkspace, Finding, PrepareWorkspace, Staleness,
    WorkspaceContents,
};
use banger_api::{ApiError, ErrorCode, Event};
use tokio_util::io::ReaderStream;

use super::access::Body;
use super::error::{Answer, Failure};
use super::operation::{Lease, event_stream};
use super::state::AppState;
use super::vm::answer;
use crate::vm::{self, Exported, Inspected};
use crate::workspace::patch::{ChangeKind, FileChange, Severity};

/// Larger pieces than a stream would take by itself, in bytes.
const PIECE_BYTES: usize = 256 * 1024;

/// What would be copied of a repository. Touches nothing.
#[utoipa::path(
    post, path = "/v1/workspaces/contents", request_body = PrepareWorkspace,
    responses((status = 200, body = WorkspaceContents), (status = 400, body = ApiError), (status = 404, body = ApiError))
)]
pub(super) async fn contents(body: Body<PrepareWorkspace>) -> Answer<WorkspaceContents> {
    let inspected = Inspected::look(&body.0).await?;
    let contents = tokio::task::spawn_blocking(move || inspected.contents()).await;
    contents.map(Json).map_err(|error| ApiError::from_error(ErrorCode::Failed, &error).into())
}

/// Copies a repository into a running VM. Answers with events; the result is the VM.
#[utoipa::path(
    post, path = "/v1/vms/{vm}/workspace", request_body = PrepareWorkspace,
    responses((status = 200, body = Event, content_type = "application/x-ndjson"), (status = 404, body = ApiError))
)]
pub(super) async fn prepare(
    State(app): State<AppState>,
    Path(vm): Path<String>,
    body: Body<PrepareWorkspace>,
) -> Result<Response, Failure> {
    let (vms, view) = (app.vms.clone(), app.vms.find(&vm)?);
    let inspected = Inspected::look(&body.0).await?;
    let title = format!("prepare a workspace in vm {}", view.row.name);
    let operation = app.operations().spawn(title, |reporter| async move {
        let prepared = vms.prepare(&view.row.id, inspected, &reporter).await;
        answer(prepared.map(|view| view.to_api()).map_err(Arc::new))
    });
    Ok(event_stream(operation, None))
}

/// Fetches what has been changed in a VM's workspace. Answers with events; the result is an `Export`.
#[utoipa::path(
    post, path = "/v1/vms/{vm}/export", request_body = ExportWorkspace,
    responses((status = 200, body = Event, content_type = "application/x-ndjson"), (status = 404, body = ApiError))
)]
pub(super) async fn export(
    State(app): State<AppState>,
    Path(vm): Path<String>,
    body: Body<ExportWorkspace>,
) -> Result<Response, Failure> {
    let (vms, view, wanted) = (app.vms.clone(), app.vms.find(&vm)?, body.0);
    vm::check_export(&wanted)?;
    let title = format!("export the workspace of vm {}", view.row.name);
    let operation = app.operations().spawn(title, |reporter| async move {
        let exported = vms.export(&view.row.id, &wanted, &reporter).await;
        answer(exported.map(to_api).map_err(Arc::new))
    });
    let cancel = operation.clone();
    // Nobody else has a use for the patch.
    Ok(event_stream(operation, Some(Lease::new(move || cancel.cancel()))))
}

/// A patch that an export has named. It can be fetched once.
#[utoipa::path(
    get, path = "/v1/patches/{id}",
    responses((status = 200, content_type = "text/x-diff"), (status = 404, body = ApiError))
)]
pub(super) async fn patch(State(app): State<AppState>, Path(id): Path<String>) -> Result<Response, Failure> {
    let missing = || {
        let error = ApiError::new(ErrorCode::NotFound, format!("there is no patch {id:?}"));
        error.with_hint("a patch can be fetched once, within ten minutes; export it again")
    };
    let patch = app.vms.take_patch(&id).ok_or_else(missing)?;
    let failed = |error: std::io::Error| ApiError::from_error(ErrorCode::Failed, &error);
    // The file goes when its last descriptor does.
    let file = tokio::fs::File::from_std(patch.reopen().map_err(failed)?);
    let stream = ReaderStream::with_capacity(file, PIECE_BYTES);
    Ok(([(header::CONTENT_TYPE, "text/x-diff")], AxumBody::from_stream(stream)).into_response())
}

/// Whether the host's repository has moved on since the workspace was prepared.
#[utoipa::path(
    get, path = "/v1/vms/{vm}/staleness",
    responses((status = 200, body = Staleness), (status = 404, body = ApiError), (status = 409, body = ApiError))
)]
pub(super) async fn staleness(State(app): State<AppState>, Path(vm): Path<String>) -> Answer<Staleness> {
    let view = app.vms.find(&vm)?;
    let vm::Staleness { stale, prepared_commit, host_commit } = app.vms.staleness(&view).await?;
    Ok(Json(Staleness { stale, prepared_commit, host_commit }))
}

fn to_api(exported: Exported) -> Export {
    let Exported { fetched, reviewed, patch, conflict, applied, branch } = exported;
    Export {
        base: fetched.base.map(|base| base.to_string()).unwrap_or_default(),
        files: reviewed.changes.iter().map(changed_file).collect(),
        findings: reviewed.findings.iter().map(finding).collect(),
        nested: fetched.left_out.nested,
        patch_bytes: fetched.bytes,
        patch,
        conflict,
        applied,
        branch: branch.map(|made| Branch {
            name: made.name,
            commit: made.commit.to_string(),
            commits: made.commits as u64,
        }),
    }
}

fn changed_file(change: &FileChange) -> ChangedFile {
    let counted = |lines: u64| (!change.binary).then_some(lines);
    ChangedFile {
        path: change.path.clone(),
        renamed_from: change.renamed_from.clone(),
        change: match change.kind {
            ChangeKind::Added => Change::Added,
            ChangeKind::Deleted => Change::Deleted,
            ChangeKind::Modified => Change::Modified,
            ChangeKind::Renamed => Change::Renamed,
        },
        added: counted(change.added),
        removed: counted(change.removed),
    }
}

fn finding(finding: &crate::workspace::patch::Finding) -> Finding {
    Finding {
        path: finding.path.clone(),
        risky: finding.severity() == Severity::Risky,
        rule: finding.rule.word(),
        reason: finding.reason().to_owned(),
        detail: finding.detail.clone(),
    }
}
