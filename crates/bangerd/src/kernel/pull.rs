use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use banger_api::operation::Stage;
use banger_host::ext4::modules_to_ext4;
use banger_host::initramfs::{Signatures, modules_archive};
use banger_host::kernel_image::extract_vmlinux;
use banger_host::modules::KernelTree;
use banger_host::staging::remove_tree;

use super::service::{MODULES_ARCHIVE, MODULES_DISK, VMLINUX};
use super::{KernelError, KernelService};
use crate::artifact::{ArtifactError, Shelf, Work, fetch_tar, in_staging, sha256};
use crate::catalog::{Entry, Kind, Source};
use crate::clock::unix_ms;
use crate::operation::Reporter;
use crate::store::KernelRow;

/// The part of the staging directory that is not published.
const BUILD_DIR: &str = "build";

/// The finished files of a kernel.
struct Made {
    release: String,
    sha256: String,
}

impl KernelService {
    /// Builds a kernel of the catalog, or waits for somebody else who does.
    pub(super) async fn get(&self, name: &str, reporter: &Reporter) -> Result<KernelRow, KernelError> {
        let failed = |source| KernelError::Get { name: name.into(), source };
        let entry = self.catalog.find(Kind::Kernel, name, reporter).await;
        let _turn = match &entry {
            Some(_) => Some(self.flights.turn(name, reporter).await.map_err(failed)?),
            None => None,
        };
        if let Some(row) = self.local(name)? {
            return Ok(row);
        }
        let damaged = self.store.kernel(name)?;
        match (entry, damaged) {
            (None, None) => Err(self.unknown(name).await),
            (None, Some(row)) => Err(self.lost(&row, self.vmlinux(&row))?),
            (Some(entry), damaged) => {
                if let Some(row) = damaged {
                    self.forget(&row).await?;
                }
                let built = self.build(&entry, reporter).await;
                if built.is_err() {
                    self.shelf.sweep().await;
                }
                let row = built.map_err(failed)?;
                if let Err(error) = self.store.insert_kernel(&row) {
                    self.shelf.remove(&row.id).await;
                    return Err(error.into());
                }
                Ok(row)
            }
        }
    }

    /// Drops what is known of a kernel of which a file is gone.
    async fn forget(&self, row: &KernelRow) -> Result<(), KernelError> {
        if !self.store.delete_unused_kernel(&row.id)? {
            let path = self.missing_file(row).unwrap_or_else(|| self.vmlinux(row));
            return Err(self.lost(row, path)?);
        }
        self.remove_files(row).await;
        Ok(())
    }

    /// Makes and publishes the files; the row is the caller's.
    async fn build(&self, entry: &Entry, reporter: &Reporter) -> Result<KernelRow, ArtifactError> {
        let Source::Debian(source) = &entry.source else {
            return Err(ArtifactError::Unsuitable {
                what: "a kernel",
                source_text: entry.source.to_string(),
            });
        };
        self.archive.check(source)?;
        self.shelf.require_space(entry.build_space_mib)?;
        let staging = self.shelf.staging()?;
        let build_dir = staging.path().join(BUILD_DIR);
        std::fs::create_dir(&build_dir).map_err(ArtifactError::io("create", &build_dir))?;

        reporter.stage(Stage::Kernel, format!("getting {} from Debian's archive", entry.name));
        let tar = fetch_tar(self.archive.as_ref(), source, &build_dir, reporter).await?;

        reporter.stage(Stage::Kernel, format!("unpacking {}", entry.name));
        let (staging, made) = in_staging(staging, reporter, move |work| make(&tar, work)).await?;
        remove_tree(&build_dir).await?;

        let id = Shelf::new_id();
        let dest = self.shelf.dir(&id);
        tokio::task::spawn_blocking(move || staging.publish(&dest)).await??;
        Ok(KernelRow {
            id,
            name: entry.name.clone(),
            source: entry.source.to_string(),
            release: made.release,
            sha256: made.sha256,
            created_at_unix_ms: unix_ms(),
        })
    }
}

/// Takes what a VM needs out of the tar.
fn make(tar: &Path, work: &Work<'_>) -> Result<Made, ArtifactError> {
    let tree = KernelTree::from_tar(tar).map_err(ArtifactError::make("the list of its modules"))?;
    let vmlinux =
        extract_vmlinux(tree.vmlinuz()).map_err(ArtifactError::make("vmlinux of its boot image"))?;
    write(&work.dir.join(VMLINUX), &vmlinux)?;
    let sha256 = sha256(&vmlinux);
    drop(vmlinux);

    let modules = modules_archive(&tree, Signatures::Dropped)
        .map_err(ArtifactError::make("the modules of its initramfs"))?;
    write(&work.dir.join(MODULES_ARCHIVE), &modules.bytes)?;
    if !modules.missing.is_empty() {
        tracing::info!(release = tree.release(), modules = ?modules.missing, "this kernel has no such modules");
    }

    let disk = work.dir.join(MODULES_DISK);
    modules_to_ext4(tar, &disk, tree.release(), &mut |done, total| work.progress(done, total))
        .map_err(ArtifactError::make("the filesystem of its modules"))?;
    read_only(&disk)?;
    Ok(Made { release: tree.release().to_owned(), sha256 })
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), ArtifactError> {
    std::fs::write(path, bytes).map_err(ArtifactError::io("write", path))?;
    read_only(path)
}

fn read_only(path: &Path) -> Result<(), ArtifactError> {
    std::fs::set_permissions(path, Permissions::from_mode(0o444))
        .map_err(ArtifactError::io("set the mode of", path))
}
