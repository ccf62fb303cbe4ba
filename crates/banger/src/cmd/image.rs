mod get;
mod prune;

use banger_api::image::{Image, ImageConfig, ListImages};
use clap::{Args, Subcommand};

use self::get::{ImportArgs, PullArgs};
use self::prune::PruneArgs;

use super::many::{each, first_of_each};
use super::operation::ProgressArgs;
use super::{Outcome, block_on, bundle};
use crate::{daemon, ui};

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum ImageCommand {
    /// List images
    #[command(visible_alias = "ls")]
    List(ListArgs),
    /// Show an image
    Show {
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Get an image of the catalog, or from an OCI registry
    Pull(PullArgs),
    /// Make an image of a local file, or of one in an archive
    Import(ImportArgs),
    /// Copy the file of an image that is used in place, so that it can go
    Promote {
        name: String,
        #[command(flatten)]
        progress: ProgressArgs,
    },
    /// Write an image into one file, for other hosts
    Bundle(bundle::BundleArgs),
    /// Delete images that no VM uses
    #[command(visible_alias = "rm")]
    Delete {
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Remove images that no VM uses, and downloads that no image needs
    Prune(PruneArgs),
}

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

pub(crate) fn run(command: ImageCommand) -> Outcome {
    block_on(async {
        match command {
            ImageCommand::List(args) => list(&args).await,
            ImageCommand::Show { name, json } => show(&name, json).await,
            ImageCommand::Pull(args) => get::pull(args).await,
            ImageCommand::Import(args) => get::import(args).await,
            ImageCommand::Promote { name, progress } => get::promote(&name, progress).await,
            ImageCommand::Bundle(args) => {
                bundle::make(&args, |client, name, how| async move { client.image_bundle(&name, &how).await })
                    .await
            }
            ImageCommand::Delete { names } => delete(names).await,
            ImageCommand::Prune(args) => prune::run(args).await,
        }
    })
}

async fn list(args: &ListArgs) -> Outcome {
    let client = daemon::connect().await?;
    let images = client.images(ListImages { available: args.available }).await?;
    if args.json {
        ui::json(&images)?;
    } else if args.quiet {
        images.iter().try_for_each(|image| ui::line(&image.name))?;
    } else {
        ui::print(table(&images))?;
    }
    if args.available {
        bundle::note_catalogs(&client).await;
    }
    Ok(0)
}

fn table(images: &[Image]) -> ui::Table {
    let mut table = ui::Table::new(&["NAME", "SOURCE", "SIZE", "ON DISK", "CREATED", "USED BY"]);
    for image in images {
        let size = |bytes: Option<u64>| bytes.map_or("-".into(), ui::bytes);
        let created = match image.created_at_unix_ms {
            None if !image.local => "not pulled".into(),
            // It was, and something of it is gone, or cannot be read.
            Some(_) if !image.local => "damaged".into(),
            when => when.map_or("-".into(), ui::ago),
        };
        table.row([
            image.name.clone(),
            source(image).into(),
            size(image.size_bytes),
            size(image.disk_used_bytes),
            created,
            super::vm::names(&image.used_by),
        ]);
    }
    table
}

/// Where it is from; an image that is called by its reference need not say that twice.
fn source(image: &Image) -> &str {
    match image.source.strip_prefix("oci ") {
        Some(reference) if reference == image.name => "oci",
        _ => &image.source,
    }
}

async fn show(name: &str, json: bool) -> Outcome {
    let image = daemon::connect().await?.image(name).await?;
    if json {
        ui::json(&image)?;
        return Ok(0);
    }
    let fields = ui::Fields::default()
        .with("name", &image.name)
        .with("source", &image.source)
        .with("on this host", if image.local { "yes" } else { "no" })
        .with_some("size", image.size_bytes.map(ui::bytes))
        .with_some("on disk", image.disk_used_bytes.map(ui::bytes))
        .with_some("in place", image.in_place.as_ref())
        .with_some("reference", image.reference.as_ref())
        .with_some("sha256", image.sha256.as_ref())
        .with_some("created", image.created_at_unix_ms.map(ui::ago))
        .with_some("kernel", image.kernel.as_ref())
        .with("used by", super::vm::names(&image.used_by));
    ui::print(with_config(fields, &image.config))?;
    Ok(0)
}

/// Adds what an image's maker says of it, as far as he does.
fn with_config(fields: ui::Fields, config: &ImageConfig) -> ui::Fields {
    let list = |words: &[String]| (!words.is_empty()).then(|| words.join(" "));
    fields
        .with_some("environment", list(&config.env))
        .with_some("workdir", config.working_dir.as_ref())
        .with_some("user", config.user.as_ref())
        .with_some("entrypoint", list(&config.entrypoint))
        .with_some("command", list(&config.cmd))
        .with_some("ports", list(&config.exposed_ports))
}

async fn delete(names: Vec<String>) -> Outcome {
    let client = daemon::connect().await?;
    let deleted = |name: String| {
        let client = &client;
        async move { client.image_delete(&name).await.map(|()| name) }
    };
    each(first_of_each(names, String::clone).into_iter().map(deleted), ui::line).await
}
