//! The ways to an image: `pull`, `import`.

use std::path::PathBuf;

use banger_api::Client;
use banger_api::image::{ImportImage, PullImage};
use clap::Args;

use crate::cmd::host_path::absolute;
use crate::cmd::operation::ProgressArgs;
use crate::cmd::{Outcome, artifact};
use crate::ui;

#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// A name of the catalog, else an OCI reference like debian:bookworm or ghcr.io/owner/name:tag
    #[arg(value_name = "NAME")]
    source: String,
    /// What to call it here [default: what it is called there]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    filesystem: FilesystemArgs,
    /// Talk to the registry over plain HTTP, or with a certificate that nobody vouches for
    #[arg(long)]
    insecure: bool,
    #[command(flatten)]
    progress: ProgressArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// What to call it
    name: String,
    /// An ext4 filesystem, a tarball of a root filesystem, an image bundle, or container images: what docker
    /// save, podman save and skopeo copy write, or a directory with an OCI layout
    file: PathBuf,
    /// Which of several container images: REPO:TAG, TAG or its digest
    #[arg(long, value_name = "TAG")]
    tag: Option<String>,
    /// Use the ext4 filesystem where it lies; nobody may write to it from then on
    #[arg(long, conflicts_with_all = ["size", "tag"])]
    in_place: bool,
    #[command(flatten)]
    filesystem: FilesystemArgs,
    #[command(flatten)]
    progress: ProgressArgs,
}

// What a new image is like.
#[derive(Debug, Args)]
struct FilesystemArgs {
    /// Size of its filesystem: 20G, 512M (MiB without unit) [default: what it holds and a quarter, at least
    /// 8G]
    #[arg(long, value_name = "SIZE", value_parser = ui::parse_mib)]
    size: Option<u64>,
    /// The kernel of its VMs unless they ask for another
    #[arg(long, value_name = "KERNEL")]
    kernel_ref: Option<String>,
}

pub(super) async fn pull(args: PullArgs) -> Outcome {
    let request = PullImage {
        name: args.source,
        save_as: args.name,
        size_mib: args.filesystem.size,
        kernel: args.filesystem.kernel_ref,
        insecure: args.insecure,
    };
    artifact::make(&request, Client::image_pull, args.progress).await
}

pub(super) async fn import(args: ImportArgs) -> Outcome {
    let request = ImportImage {
        name: args.name,
        path: absolute(&args.file)?,
        in_place: args.in_place,
        tag: args.tag,
        size_mib: args.filesystem.size,
        kernel: args.filesystem.kernel_ref,
    };
    artifact::make(&request, Client::image_import, args.progress).await
}
