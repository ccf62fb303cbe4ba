//! The files of a kernel, on their way from what it was got as to its own directory.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use banger_host::ext4::modules_to_ext4;
use banger_host::initramfs::{Signatures, modules_archive};
use banger_host::kernel_image::{check_elf, extract_vmlinux};
use banger_host::modules::KernelTree;
use banger_host::staging::StagingDir;

use super::recover::RECORD;
use super::service::{MODULES_ARCHIVE, MODULES_DISK, VMLINUX};
use super::{KernelError, KernelService};
use crate::artifact::bundle::{Details, Got};
use crate::artifact::{ArtifactError, ArtifactStore, Work, in_staging};
use crate::checksum::sha256;
use crate::clock::unix_ms;
use crate::operation::Reporter;
use crate::record;
use crate::store::KernelRow;

/// What is known of the finished files.
pub(super) struct Made {
    pub(super) release: String,
    /// Of the vmlinux, in hex.
    pub(super) sha256: String,
}

/// The finished files of a kernel, and nothing else, in a staging directory.
pub(super) struct Finished {
    pub(super) staging: StagingDir,
    pub(super) made: Made,
    /// For people.
    pub(super) source: String,
}

/// Takes what a VM needs out of a kernel's tar.
pub(super) fn make(tar: &Path, signatures: Signatures, work: &Work<'_>) -> Result<Made, ArtifactError> {
    let tree = KernelTree::from_tar(tar).map_err(ArtifactError::make("the list of its modules"))?;
    let vmlinux =
        extract_vmlinux(tree.vmlinuz()).map_err(ArtifactError::make("vmlinux of its boot image"))?;
    write(&work.dir.join(VMLINUX), &vmlinux)?;
    let sha256 = sha256(&vmlinux);
    drop(vmlinux);

    let modules =
        modules_archive(&tree, signatures).map_err(ArtifactError::make("the modules of its initramfs"))?;
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

/// Looks at what a bundle held.
pub(super) async fn finish_bundle(
    got: Got,
    source: String,
    reporter: &Reporter,
) -> Result<Finished, ArtifactError> {
    let details = got.unpacked.manifest.details();
    let work = in_staging(got.staging, reporter, move |work| {
        let path = work.dir.join(VMLINUX);
        let vmlinux = std::fs::read(&path).map_err(ArtifactError::io("read", &path))?;
        check_elf(&vmlinux).map_err(ArtifactError::make("a kernel of the bundle's vmlinux"))?;
        let Details::Kernel { release } = details else {
            return Err(ArtifactError::Unsuitable {
                what: "a kernel",
                source_text: "an image's bundle".into(),
            });
        };
        Ok(Made { release, sha256: sha256(&vmlinux) })
    });
    let (staging, made) = work.await?;
    Ok(Finished { staging, made, source })
}

impl KernelService {
    /// Gives the finished files their place, and then the kernel its name.
    pub(super) async fn publish(&self, name: &str, finished: Finished) -> Result<KernelRow, KernelError> {
        let Finished { staging, made, source } = finished;
        let failed = |source| KernelError::Get { name: name.into(), source };
        let row = KernelRow {
            unreadable: false,
            id: ArtifactStore::new_id(),
            name: name.into(),
            source,
            release: made.release,
            sha256: made.sha256,
            created_at_unix_ms: unix_ms(),
        };
        record::write(&staging.path().join(RECORD), &row).map_err(|source| failed(source.into()))?;
        self.artifacts.publish(staging, &row.id).await.map_err(failed)?;
        match self.store.insert_kernel(&row) {
            Ok(()) => Ok(row),
            Err(error) => {
                self.artifacts.remove(&row.id).await;
                Err(match error.is_taken() {
                    true => KernelError::NameTaken { name: row.name },
                    false => error.into(),
                })
            }
        }
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), ArtifactError> {
    std::fs::write(path, bytes).map_err(ArtifactError::io("write", path))?;
    read_only(path)
}

fn read_only(path: &Path) -> Result<(), ArtifactError> {
    std::fs::set_permissions(path, Permissions::from_mode(0o444))
        .map_err(ArtifactError::io("set the mode of", path))
}
