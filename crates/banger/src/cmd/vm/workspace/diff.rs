use banger_api::workspace::{ExportPurpose, ExportWorkspace};
use clap::Args;

use super::fetch::{FetchArgs, fetch};
use super::pager::Pager;
use super::report;
use crate::cmd::operation::ProgressArgs;
use crate::cmd::{Outcome, block_on};
use crate::daemon;
use crate::ui::Colouring;

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// Name, id, or unique beginning of an id
    #[arg(value_name = "REF")]
    vm: String,
    /// Name the changed files and count their lines, and show no more
    #[arg(long)]
    stat: bool,
    #[command(flatten)]
    fetch: FetchArgs,
    #[command(flatten)]
    progress: ProgressArgs,
}

pub(crate) fn run(args: DiffArgs) -> Outcome {
    // Looking is safe: nothing is written, and the text is made harmless before it is shown.
    let purpose = if args.stat { ExportPurpose::Summary } else { ExportPurpose::Show };
    let request = ExportWorkspace { allow_risky: true, purpose, ..args.fetch.request() };
    block_on(async {
        let client = daemon::connect().await?;
        let export = fetch(&client, &args.vm, &request, args.progress.verbosity()).await?;
        if args.stat {
            report::print(&export)?;
            return Ok(0);
        }
        let Some(patch) = export.patch.as_deref().filter(|_| !export.files.is_empty()) else {
            report::tell(&export);
            return Ok(0);
        };
        let mut pager = Pager::start()?;
        let mut colouring = Colouring::default();
        let mut stream = client.patch(patch).await?;
        while let Some(piece) = stream.next().await? {
            if !pager.write(&colouring.piece(&piece))? {
                break;
            }
        }
        pager.write(&colouring.rest())?;
        pager.finish();
        if export.findings.iter().any(|finding| finding.risky) {
            report::tell(&export);
        }
        Ok(0)
    })
}
