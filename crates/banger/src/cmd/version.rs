use banger_api::Build;
use clap::Args;

use super::Outcome;
use crate::ui;

#[derive(Debug, Args)]
pub(crate) struct VersionArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &VersionArgs) -> Outcome {
    let build = Build::current();
    if args.json {
        ui::json(&build)?
    } else {
        ui::line(format_args!("banger {build}"))?
    }
    Ok(0)
}
