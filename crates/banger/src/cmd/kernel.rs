use std::path::PathBuf;

use banger_api::Client;
use banger_api::kernel::{ImportKernel, Kernel, ListKernels, PullKernel};
use clap::{Args, Subcommand};

use super::host_path::absolute;
use super::operation::ProgressArgs;
use super::{Outcome, artifact, block_on};
use crate::ui;

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum KernelCommand {
    /// List kernels
    #[command(visible_alias = "ls")]
    List(artifact::ListArgs),
    /// Show a kernel
    Show(artifact::ShowArgs),
    /// Get a kernel of the catalog
    Pull {
        name: String,
        #[command(flatten)]
        progress: ProgressArgs,
    },
    /// Make a kernel of what is on this host
    Import(ImportArgs),
    /// Write a kernel into one file, for other hosts
    Bundle(artifact::BundleArgs),
    /// Delete kernels that no VM uses
    #[command(visible_alias = "rm")]
    Delete(artifact::DeleteArgs),
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
            KernelCommand::List(args) => {
                let get = async |client: &Client, available| client.kernels(ListKernels { available }).await;
                artifact::list(args, get, |kernel| &kernel.name, table).await
            }
            KernelCommand::Show(args) => artifact::show(args, Client::kernel, fields).await,
            KernelCommand::Pull { name, progress } => {
                artifact::make(&PullKernel { name }, Client::kernel_pull, progress).await
            }
            KernelCommand::Import(args) => {
                let request = ImportKernel { name: args.name, from: absolute(&args.from)? };
                artifact::make(&request, Client::kernel_import, args.progress).await
            }
            KernelCommand::Bundle(args) => artifact::bundle(args, Client::kernel_bundle).await,
            KernelCommand::Delete(args) => artifact::delete(args, Client::kernel_delete).await,
        }
    })
}

fn table(kernels: &[Kernel]) -> ui::Table {
    let mut table = ui::Table::new(&["NAME", "SOURCE", "RELEASE", "ON DISK", "CREATED", "USED BY"]);
    for kernel in kernels {
        table.row([
            kernel.name.clone(),
            kernel.source.clone(),
            kernel.release.clone().unwrap_or_else(|| "-".into()),
            kernel.disk_used_bytes.map_or("-".into(), ui::bytes),
            artifact::created(kernel.local, kernel.created_at_unix_ms),
            super::vm::names(&kernel.used_by),
        ]);
    }
    table
}

fn fields(kernel: &Kernel) -> ui::Fields {
    ui::Fields::default()
        .with("name", &kernel.name)
        .with("source", &kernel.source)
        .with("on this host", if kernel.local { "yes" } else { "no" })
        .with_some("release", kernel.release.as_ref())
        .with_some("on disk", kernel.disk_used_bytes.map(ui::bytes))
        .with_some("sha256", kernel.sha256.as_ref())
        .with_some("created", kernel.created_at_unix_ms.map(ui::ago))
        .with("used by", super::vm::names(&kernel.used_by))
}
