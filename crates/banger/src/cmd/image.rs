mod get;
mod prune;

use banger_api::Client;
use banger_api::image::{Image, ImageConfig, ListImages};
use clap::Subcommand;

use self::get::{ImportArgs, PullArgs};
use self::prune::PruneArgs;

use super::operation::ProgressArgs;
use super::{Outcome, artifact, block_on};
use crate::ui;

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum ImageCommand {
    /// List images
    #[command(visible_alias = "ls")]
    List(artifact::ListArgs),
    /// Show an image
    Show(artifact::ShowArgs),
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
    Bundle(artifact::BundleArgs),
    /// Delete images that no VM uses
    #[command(visible_alias = "rm")]
    Delete(artifact::DeleteArgs),
    /// Remove images that no VM uses, and downloads that no image needs
    Prune(PruneArgs),
}

pub(crate) fn run(command: ImageCommand) -> Outcome {
    block_on(async {
        match command {
            ImageCommand::List(args) => {
                let get = async |client: &Client, available| client.images(ListImages { available }).await;
                artifact::list(args, get, |image| &image.name, table).await
            }
            ImageCommand::Show(args) => artifact::show(args, Client::image, fields).await,
            ImageCommand::Pull(args) => get::pull(args).await,
            ImageCommand::Import(args) => get::import(args).await,
            ImageCommand::Promote { name, progress } => {
                artifact::make(name.as_str(), Client::image_promote, progress).await
            }
            ImageCommand::Bundle(args) => artifact::bundle(args, Client::image_bundle).await,
            ImageCommand::Delete(args) => artifact::delete(args, Client::image_delete).await,
            ImageCommand::Prune(args) => prune::run(args).await,
        }
    })
}

fn table(images: &[Image]) -> ui::Table {
    let mut table = ui::Table::new(&["NAME", "SOURCE", "SIZE", "ON DISK", "CREATED", "USED BY"]);
    for image in images {
        let size = |bytes: Option<u64>| bytes.map_or("-".into(), ui::bytes);
        table.row([
            image.name.clone(),
            source(image).into(),
            size(image.size_bytes),
            size(image.disk_used_bytes),
            artifact::created(image.local, image.created_at_unix_ms),
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

fn fields(image: &Image) -> ui::Fields {
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
    with_config(fields, &image.config)
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
