//! A VM's copy of a repository: one file per verb.

mod diff;
mod export;
mod fetch;
mod pager;
mod prepare;
mod report;
pub(crate) mod source;

use clap::Subcommand;

use crate::cmd::Outcome;

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum WorkspaceCommand {
    /// Copy a git repository into a running VM
    Prepare(prepare::PrepareArgs),
    /// Hand a VM's changes back as a patch
    Export(export::ExportArgs),
    /// Show a VM's changes
    Diff(diff::DiffArgs),
}

pub(crate) fn run(command: WorkspaceCommand) -> Outcome {
    match command {
        WorkspaceCommand::Prepare(args) => prepare::run(args),
        WorkspaceCommand::Export(args) => export::run(args),
        WorkspaceCommand::Diff(args) => diff::run(args),
    }
}
