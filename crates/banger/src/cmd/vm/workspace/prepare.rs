use std::path::PathBuf;

use banger_api::vm::Vm;
use clap::Args;

use super::source::{SourceArgs, dry_run};
use crate::cmd::operation::{Followed, ProgressArgs, catch_signals, follow};
use crate::cmd::{Outcome, block_on};
use crate::daemon;
use crate::error::CommandError;

#[derive(Debug, Args)]
pub(crate) struct PrepareArgs {
    /// Name, id, or unique beginning of an id
    #[arg(value_name = "REF")]
    vm: String,
    /// A directory in a git checkout
    path: PathBuf,
    #[command(flatten)]
    source: SourceArgs,
    /// Throw away what has been changed in the VM since it was prepared last
    #[arg(long)]
    discard: bool,
    #[command(flatten)]
    progress: ProgressArgs,
}

pub(crate) fn run(args: PrepareArgs) -> Outcome {
    let request = args.source.request(&args.path, args.discard)?;
    block_on(async {
        let client = daemon::connect().await?;
        if args.source.dry_run {
            return dry_run(&client, &request).await;
        }
        let mut signals = catch_signals()?;
        let mut stream = client.workspace_prepare(&args.vm, &request).await?;
        match follow::<Vm>(&client, &mut stream, args.progress.verbosity(), &mut signals).await? {
            Followed::Done(_) => Ok(0),
            Followed::Interrupted { by, .. } => Err(CommandError::Quiet { exit_code: by.exit_code() }),
        }
    })
}
