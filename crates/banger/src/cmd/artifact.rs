//! What images and kernels have in common.

use std::path::PathBuf;

use banger_api::bundle::{Bundle, MakeBundle};
use banger_api::{Client, ClientError, EventStream};
use clap::Args;
use serde::{Deserialize, Serialize};

use super::Outcome;
use super::host_path::absolute;
use super::many::{each, first_of_each};
use super::operation::{ProgressArgs, result};
use crate::{daemon, ui};

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Those of the catalog that are not on this host, too
    #[arg(long)]
    available: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print names only
    #[arg(long, short, conflicts_with = "json")]
    quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    name: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

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

/// Shows all that `get` answers; it is told whether those of the catalog are wanted, too.
pub(crate) async fn list<T: Serialize>(
    args: ListArgs,
    get: impl AsyncFnOnce(&Client, bool) -> Result<Vec<T>, ClientError>,
    name: impl Fn(&T) -> &str,
    table: impl FnOnce(&[T]) -> ui::Table,
) -> Outcome {
    let client = daemon::connect().await?;
    let items = get(&client, args.available).await?;
    if args.json {
        ui::json(&items)?;
    } else if args.quiet {
        items.iter().try_for_each(|item| ui::line(name(item)))?;
    } else {
        ui::print(table(&items))?;
    }
    if args.available {
        note_catalogs(&client).await;
    }
    Ok(0)
}

pub(crate) async fn show<T: Serialize>(
    args: ShowArgs,
    get: impl AsyncFnOnce(&Client, &str) -> Result<T, ClientError>,
    fields: impl FnOnce(&T) -> ui::Fields,
) -> Outcome {
    let item = get(&daemon::connect().await?, &args.name).await?;
    if args.json {
        ui::json(&item)?;
    } else {
        ui::print(fields(&item))?;
    }
    Ok(0)
}

/// Has one made, and prints its name.
pub(crate) async fn make<R: ?Sized>(
    request: &R,
    send: impl AsyncFnOnce(&Client, &R) -> Result<EventStream, ClientError>,
    progress: ProgressArgs,
) -> Outcome {
    #[derive(Deserialize)]
    struct Made {
        name: String,
    }
    let client = daemon::connect().await?;
    let stream = send(&client, request).await?;
    let made: Made = result(&client, stream, progress).await?;
    ui::line(&made.name).map(|()| 0)
}

/// Has a bundle written; shows its checksum and file as `sha256sum` does.
pub(crate) async fn bundle(
    args: BundleArgs,
    send: impl AsyncFnOnce(&Client, &str, &MakeBundle) -> Result<EventStream, ClientError>,
) -> Outcome {
    let how = MakeBundle { output: absolute(&args.output)?, replace: args.force };
    let client = daemon::connect().await?;
    let stream = send(&client, &args.name, &how).await?;
    let bundle: Bundle = result(&client, stream, args.progress).await?;
    if args.json {
        ui::json(&bundle)?;
    } else {
        ui::line(format_args!("{}  {}", bundle.sha256, bundle.path))?;
    }
    Ok(0)
}

pub(crate) async fn delete(
    args: DeleteArgs,
    delete: impl AsyncFn(&Client, &str) -> Result<(), ClientError>,
) -> Outcome {
    let client = daemon::connect().await?;
    let (client, delete) = (&client, &delete);
    let deleted = |name: String| async move { delete(client, &name).await.map(|()| name) };
    each(first_of_each(args.names, String::clone).into_iter().map(deleted), ui::line).await
}

/// A list's word for when it came to this host.
pub(crate) fn created(local: bool, at_unix_ms: Option<u64>) -> String {
    match at_unix_ms {
        None if !local => "not pulled".into(),
        // It was, and something of it is gone, or cannot be read.
        Some(_) if !local => "damaged".into(),
        when => when.map_or("-".into(), ui::ago),
    }
}

/// Says below a list of what is available which catalogs are not in it, or not as they should be.
async fn note_catalogs(client: &Client) {
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
