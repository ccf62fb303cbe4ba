use std::time::Duration;

use banger_api::Client;
use banger_api::workspace::{Export, ExportWorkspace};
use clap::Args;

use crate::cmd::operation::{Followed, catch_signals, follow};
use crate::error::CommandError;
use crate::ui::{self, Verbosity};

// What the guest's work is compared with, and how long that may take.
#[derive(Debug, Args)]
pub(super) struct FetchArgs {
    /// Compare with this commit instead of the state as it was prepared; a name means what it means on the
    /// host, if it is known there
    #[arg(long, value_name = "COMMIT")]
    base_commit: Option<String>,
    /// Refuse more than this; git takes no patch above 1023 MiB (a bare number means MiB)
    #[arg(long, value_name = "SIZE", value_parser = ui::parse_mib, default_value = "1023MiB")]
    max_size: u64,
    /// How long the guest may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    timeout: u32,
}

impl FetchArgs {
    pub(super) fn request(&self) -> ExportWorkspace {
        ExportWorkspace {
            base_commit: self.base_commit.clone(),
            max_bytes: self.max_size << 20,
            timeout_ms: Duration::from_secs(self.timeout.into()).as_millis() as u64,
            ..ExportWorkspace::default()
        }
    }
}

/// Has the guest's changes fetched and read.
///
/// # Errors
///
/// When they cannot be had.
pub(super) async fn fetch(
    client: &Client,
    vm: &str,
    request: &ExportWorkspace,
    verbosity: Verbosity,
) -> Result<Export, CommandError> {
    let mut signals = catch_signals()?;
    let mut stream = client.workspace_export(vm, request).await?;
    match follow(client, &mut stream, verbosity, &mut signals).await? {
        Followed::Done(export) => Ok(export),
        Followed::Interrupted { by, .. } => Err(CommandError::Quiet { exit_code: by.exit_code() }),
    }
}
