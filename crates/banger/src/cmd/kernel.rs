use std::path::PathBuf;

use banger_api::kernel::{ImportKernel, Kernel, ListKernels, PullKernel};
use clap::{Args, Subcommand};

use super::host_path::absolute;
use super::many::{each, first_of_each};
use super::operation::{ProgressArgs, result};
use super::{Outcome, block_on, bundle};
use crate::{daemon, ui};

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum KernelCommand {
    /// List kernels
    #[command(visible_alias = "ls")]
    List(ListArgs),
    /// Show a kernel
    Show {
        name: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Get a kernel of the catalog
    Pull {
        name: String,
        #[command(flatten)]
        progress: ProgressArgs,
    },
    /// Make a kernel of what is on this host
    Import(ImportArgs),
    /// Write a kernel into one file, for other hosts
    Bundle(bundle::BundleArgs),
    /// Delete kernels that no VM uses
    #[command(visible_alias = "rm")]
    Delete {
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
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

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// What to call it
    name: String,
    /// A directory with vmlinuz or vmlinux and its modules (/boot, a root, an unpacked package), or a bundle
    #[arg(long, value_name = "PATH")]
    from: PathBuf,
    #[command(flatten)]
    progress: ProgressArgs,
}

pub(crate) fn run(command: KernelCommand) -> Outcome {
    block_on(async {
        match command {
            KernelCommand::List(args) => list(&args).await,
            KernelCommand::Show { name, json } => show(&name, json).await,
            KernelCommand::Pull { name, progress } => pull(name, progress).await,
            KernelCommand::Import(args) => import(args).await,
            KernelCommand::Bundle(args) => {
                bundle::make(
                    &args,
                    |client, name, how| async move { client.kernel_bundle(&name, &how).await },
                )
                .await
            }
            KernelCommand::Delete { names } => delete(names).await,
        }
    })
}

async fn list(args: &ListArgs) -> Outcome {
    let client = daemon::connect().await?;
    let kernels = client.kernels(ListKernels { available: args.available }).await?;
    if args.json {
        ui::json(&kernels)?;
    } else if args.quiet {
        kernels.iter().try_for_each(|kernel| ui::line(&kernel.name))?;
    } else {
        ui::print(table(&kernels))?;
    }
    if args.available {
        bundle::note_catalogs(&client).await;
    }
    Ok(0)
}

fn table(kernels: &[Kernel]) -> ui::Table {
    let mut table = ui::Table::new(&["NAME", "SOURCE", "RELEASE", "ON DISK", "CREATED", "USED BY"]);
    for kernel in kernels {
        let created = match kernel.created_at_unix_ms {
            None if !kernel.local => "not pulled".into(),
            // It was, and something of it is gone, or cannot be read.
            Some(_) if !kernel.local => "damaged".into(),
            when => when.map_or("-".into(), ui::ago),
        };
        table.row([
            kernel.name.clone(),
            kernel.source.clone(),
            kernel.release.clone().unwrap_or_else(|| "-".into()),
            kernel.disk_used_bytes.map_or("-".into(), ui::bytes),
            created,
            super::vm::names(&kernel.used_by),
        ]);
    }
    table
}

async fn show(name: &str, json: bool) -> Outcome {
    let kernel = daemon::connect().await?.kernel(name).await?;
    if json {
        ui::json(&kernel)?;
        return Ok(0);
    }
    let fields = ui::Fields::default()
        .with("name", &kernel.name)
        .with("source", &kernel.source)
        .with("on this host", if kernel.local { "yes" } else { "no" })
        .with_some("release", kernel.release.as_ref())
        .with_some("on disk", kernel.disk_used_bytes.map(ui::bytes))
        .with_some("sha256", kernel.sha256.as_ref())
        .with_some("created", kernel.created_at_unix_ms.map(ui::ago))
        .with("used by", super::vm::names(&kernel.used_by));
    ui::print(fields)?;
    Ok(0)
}

async fn pull(name: String, progress: ProgressArgs) -> Outcome {
    let client = daemon::connect().await?;
    let stream = client.kernel_pull(&PullKernel { name }).await?;
    let kernel: Kernel = result(&client, stream, progress).await?;
    ui::line(&kernel.name).map(|()| 0)
}

async fn import(args: ImportArgs) -> Outcome {
    let from = absolute(&args.from)?;
    let client = daemon::connect().await?;
    let stream = client.kernel_import(&ImportKernel { name: args.name, from }).await?;
    let kernel: Kernel = result(&client, stream, args.progress).await?;
    ui::line(&kernel.name).map(|()| 0)
}

async fn delete(names: Vec<String>) -> Outcome {
    let client = daemon::connect().await?;
    let deleted = |name: String| {
        let client = &client;
        async move { client.kernel_delete(&name).await.map(|()| name) }
    };
    each(first_of_each(names, String::clone).into_iter().map(deleted), ui::line).await
}
