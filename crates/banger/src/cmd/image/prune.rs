use std::io::{BufRead as _, IsTerminal as _};

use banger_api::image::{PruneImages, PrunedImages};
use clap::Args;

use crate::cmd::Outcome;
use crate::error::CommandError;
use crate::{daemon, ui};

#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Only tell what would go
    #[arg(long, conflicts_with = "force")]
    dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: PruneArgs) -> Outcome {
    let client = daemon::connect().await?;
    let plan = client.images_prune(PruneImages { dry_run: true }).await?;
    if args.dry_run {
        return show(&plan, args.json, "would be freed").map(|()| 0);
    }
    if !args.force {
        if !args.json {
            show(&plan, false, "would be freed")?;
        }
        if is_empty(&plan) {
            return Ok(0);
        }
        if !confirmed()? {
            return Ok(1);
        }
    }
    let pruned = client.images_prune(PruneImages { dry_run: false }).await?;
    if args.force || args.json {
        show(&pruned, args.json, "freed")?;
    } else {
        ui::line(format_args!("freed {}", ui::bytes(pruned.freed_bytes)))?;
    }
    Ok(0)
}

fn is_empty(plan: &PrunedImages) -> bool {
    plan.images.is_empty() && plan.blobs == 0 && plan.leftovers.is_empty()
}

fn show(plan: &PrunedImages, json: bool, outcome: &str) -> Result<(), CommandError> {
    if json {
        return ui::json(plan);
    }
    if is_empty(plan) {
        return ui::line("nothing to remove: every image is in use, and no download is left over");
    }
    for image in &plan.images {
        ui::line(format_args!("image {} ({})", image.name, ui::bytes(image.disk_used_bytes)))?;
    }
    if plan.blobs > 0 {
        // Layers, and the documents that name them.
        let blobs = if plan.blobs == 1 { "blob" } else { "blobs" };
        ui::line(format_args!("{} downloaded {blobs} ({})", plan.blobs, ui::bytes(plan.blob_bytes)))?;
    }
    for path in &plan.leftovers {
        ui::line(format_args!("left behind: {path}"))?;
    }
    ui::line(format_args!("{} {outcome}", ui::bytes(plan.freed_bytes)))
}

fn confirmed() -> Result<bool, CommandError> {
    if !std::io::stdin().is_terminal() {
        return Err(CommandError::usage("there is no terminal to ask on whether these may go")
            .with_hint("--force removes them without asking, --dry-run only lists them"));
    }
    ui::ask("Remove them? [y/N] ");
    let mut answer = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut answer)
        .map_err(|error| CommandError::io("could not read the answer", error))?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}
