//! What images and kernels have in common: bundles, and the catalogs they stand in.

use std::path::PathBuf;

use banger_api::bundle::{Bundle, MakeBundle};
use banger_api::{Client, ClientError, EventStream};
use clap::Args;

use super::Outcome;
use super::host_path::absolute;
use super::operation::{ProgressArgs, result};
use crate::{daemon, ui};

#[derive(Debug, Args)]
pub(crate) struct BundleArgs {
    name: String,
    /// The file to write
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Replace the file if it exists
    #[arg(long, short)]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    progress: ProgressArgs,
}

/// Has a bundle written; shows its checksum and file as `sha256sum` does.
pub(crate) async fn make<F>(
    args: &BundleArgs,
    request: impl FnOnce(Client, String, MakeBundle) -> F,
) -> Outcome
where
    F: Future<Output = Result<EventStream, ClientError>>,
{
    let how = MakeBundle { output: absolute(&args.output)?, replace: args.force };
    let client = daemon::connect().await?;
    let stream = request(client.clone(), args.name.clone(), how).await?;
    let bundle: Bundle = result(&client, stream, args.progress).await?;
    if args.json {
        ui::json(&bundle)?;
    } else {
        ui::line(format_args!("{}  {}", bundle.sha256, bundle.path))?;
    }
    Ok(0)
}

/// Says below a list of what is available which catalogs are not in it, or not as they should be.
pub(crate) async fn note_catalogs(client: &Client) {
    // The list was shown: it is worth something without this.
    for catalog in client.catalogs().await.unwrap_or_default() {
        if let Some(problem) = catalog.problem {
            ui::note(problem);
        }
        if !catalog.shadowed.is_empty() {
            let names = catalog.shadowed.join(", ");
            ui::note(format_args!(
                "catalog {}: an earlier one has these names as well: {names}",
                catalog.place
            ));
        }
    }
}
