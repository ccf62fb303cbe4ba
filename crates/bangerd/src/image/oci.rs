//! Images out of OCI registries: layers into the blob cache, from there into one filesystem.

use std::sync::Arc;

use banger_api::operation::{ProgressUnit, Stage};
use banger_host::ext4::ImageSize;
use banger_host::staging::StagingDir;
use banger_host::system::free_disk_bytes;
use banger_registry::{BlobLease, BlobStore, Client, Layer, Reference, Resolved, Security};

use super::ImageService;
use super::layers::{PackedLayer, config, unpack};
use super::publish::Finished;
use super::rootfs::make_of_layers;
use crate::artifact::{ArtifactError, build_dir, in_staging, remove_build_dir};
use crate::operation::Reporter;
use crate::store::{ImageDetails, ImageRow};

/// What to pull, and how.
pub(super) struct OciPull<'a> {
    pub(super) reference: &'a Reference,
    pub(super) security: Security,
    pub(super) size: ImageSize,
    /// The image that was pulled by this reference before, if it is whole.
    pub(super) known: Option<&'a ImageRow>,
}

impl ImageService {
    /// Gets an image out of its registry. None when the one that is known is what the registry has.
    pub(super) async fn pull_oci(
        &self,
        pull: &OciPull<'_>,
        reporter: &Reporter,
    ) -> Result<Option<Finished>, ArtifactError> {
        let reference = pull.reference;
        let client = self.downloads.client(reporter.environment())?;
        let blobs = self.downloads.blobs()?;
        reporter.stage(Stage::Image, format!("asking {} for {}", reference.registry(), reference.familiar()));
        let resolving = client.resolve(blobs, reference, pull.security);
        let resolved = unless_cancelled(reporter, resolving).await??;
        for warning in &resolved.warnings {
            reporter.notice(warning.to_string());
        }
        if pull.known.is_some_and(|known| known.sha256 == resolved.digest.hex()) {
            return Ok(None);
        }
        let missing_bytes = blobs.missing_bytes(&resolved);
        self.require_space(&resolved, missing_bytes)?;
        reporter.stage(Stage::Image, describe(&resolved, missing_bytes));
        let leases = fetch(&client, blobs, &resolved, reporter).await?;
        let assembled = self.assemble(&resolved, leases.clone(), pull.size, reporter).await;
        let (staging, size_bytes) = match assembled {
            Err(ArtifactError::Layer(error)) if damaged(blobs, leases).await? => {
                reporter.notice(format!("{error}: this disk has spoilt it, and it is downloaded again"));
                let leases = fetch(&client, blobs, &resolved, reporter).await?;
                self.assemble(&resolved, leases, pull.size, reporter).await?
            }
            assembled => assembled?,
        };
        let layers = resolved.layers.iter().map(|layer| layer.digest);
        Ok(Some(Finished {
            staging,
            source: format!("oci {reference}"),
            size_bytes,
            sha256: resolved.digest.hex(),
            details: ImageDetails {
                reference: Some(reference.to_string()),
                config: config(resolved.config),
                blobs: layers.chain(resolved.documents).map(|digest| digest.to_string()).collect(),
                ..ImageDetails::default()
            },
        }))
    }

    /// Makes a filesystem of layers that are here.
    async fn assemble(
        &self,
        resolved: &Resolved,
        leases: Arc<Vec<BlobLease>>,
        size: ImageSize,
        reporter: &Reporter,
    ) -> Result<(StagingDir, u64), ArtifactError> {
        let staging = self.artifacts.staging()?;
        let build_dir = build_dir(staging.path())?;
        let packed = |(layer, lease): (&Layer, &BlobLease)| PackedLayer {
            path: lease.path().to_owned(),
            part: None,
            // The cache has it under its digest.
            digest: None,
            size_bytes: layer.size_bytes,
            diff_id: layer.diff_id,
        };
        let layers: Vec<PackedLayer> = resolved.layers.iter().zip(leases.iter()).map(packed).collect();
        let name = resolved.reference.familiar();
        reporter.stage(Stage::Image, format!("unpacking {name}"));
        let made = in_staging(staging, reporter, move |work| {
            let tars = unpack(&layers, &build_dir, work)?;
            drop(leases);
            work.stage(Stage::Image, format!("making the filesystem of {name}"));
            make_of_layers(&tars, size, work)
        });
        let (staging, size_bytes) = made.await?;
        remove_build_dir(staging.path()).await?;
        Ok((staging, size_bytes))
    }

    /// Looks whether the disk can hold what is to come, as far as the registry tells: layers come packed.
    fn require_space(&self, resolved: &Resolved, missing_bytes: u64) -> Result<(), ArtifactError> {
        self.artifacts.require_space((resolved.compressed_bytes().saturating_mul(2)) >> 20)?;
        let path = self.downloads.cache();
        let free_bytes = free_disk_bytes(path)?;
        if free_bytes >= missing_bytes {
            return Ok(());
        }
        let (needed_mib, free_mib) = (missing_bytes >> 20, free_bytes >> 20);
        Err(ArtifactError::NoSpace { path: path.to_owned(), needed_mib, free_mib })
    }
}

async fn fetch(
    client: &Client,
    blobs: &BlobStore,
    resolved: &Resolved,
    reporter: &Reporter,
) -> Result<Arc<Vec<BlobLease>>, ArtifactError> {
    let fetching = client.fetch(blobs, resolved, |progress| {
        reporter.progress(progress.done_bytes, Some(progress.total_bytes), ProgressUnit::Bytes);
    });
    Ok(Arc::new(unless_cancelled(reporter, fetching).await??))
}

/// Whether one of the layers is not what it was when it was downloaded. Those are removed.
async fn damaged(blobs: &BlobStore, leases: Arc<Vec<BlobLease>>) -> Result<bool, ArtifactError> {
    let blobs = blobs.clone();
    let check = move || {
        let mut damaged = false;
        for lease in leases.iter() {
            damaged |= !blobs.check(lease)?;
        }
        Ok(damaged)
    };
    tokio::task::spawn_blocking(check).await?
}

async fn unless_cancelled<T>(reporter: &Reporter, work: impl Future<Output = T>) -> Result<T, ArtifactError> {
    tokio::select! {
        biased;
        () = reporter.cancelled().cancelled() => Err(ArtifactError::Cancelled),
        done = work => Ok(done),
    }
}

fn describe(resolved: &Resolved, missing_bytes: u64) -> String {
    let (name, layers) = (resolved.reference.familiar(), resolved.layers.len());
    let layers = if layers == 1 { "1 layer".to_owned() } else { format!("{layers} layers") };
    match missing_bytes {
        0 => format!("{name}: {layers}, all of them here already"),
        _ => format!("downloading {name} ({layers})"),
    }
}
