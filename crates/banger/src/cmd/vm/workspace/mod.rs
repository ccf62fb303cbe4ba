//! A VM's copy of a repository: one file per verb.

mod diff;
mod export;
mod fetch;
mod pager;
mod prepare;
mod report;
pub(crate) mod source;

use std::time::Duration;

use banger_api::workspace::{Export, ExportPurpose, ExportWorkspace};
use banger_api::{Client, ClientError};
use clap::Subcommand;

use crate::cmd::Outcome;

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum WorkspaceCommand {
    /// Copy a git repository into a running VM
    Prepare(prepare::PrepareArgs),
    /// Hand a VM's changes back: as a branch, or as a patch
    Export(export::ExportArgs),
    /// Show a VM's changes
    Diff(diff::DiffArgs),
}

/// How long a guest may take to say what was changed, where that is no more than a courtesy.
const SUMMARY_LIMIT: Duration = Duration::from_secs(20);

/// What was changed in a VM's workspace, in a few words; none when nothing was.
///
/// # Errors
///
/// When the guest does not say.
pub(crate) async fn summary(client: &Client, vm: &str) -> Result<Option<String>, ClientError> {
    let request = ExportWorkspace {
        purpose: ExportPurpose::Summary,
        timeout_ms: SUMMARY_LIMIT.as_millis() as u64,
        ..ExportWorkspace::default()
    };
    let mut stream = client.workspace_export(vm, &request).await?;
    let export: Export = stream.finish(|_| ()).await?;
    Ok((!export.files.is_empty()).then(|| report::summary(&export.files)))
}

pub(crate) fn run(command: WorkspaceCommand) -> Outcome {
    match command {
        WorkspaceCommand::Prepare(args) => prepare::run(args),
        WorkspaceCommand::Export(args) => export::run(args),
        WorkspaceCommand::Diff(args) => diff::run(args),
    }
}
