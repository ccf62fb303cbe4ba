//! Making a VM: everything it is, nothing of it running.

use std::path::PathBuf;
use std::sync::Arc;

use banger_api::operation::Stage;
use banger_host::files::FileError;
use banger_host::staging::{StagingDir, discard};
use tokio::task::JoinHandle;

use super::VmError;
use super::record::VmRecord;
use super::registry::Services;
use super::steps::{Step, StepFuture, nothing_to_undo};
use crate::disk;
use crate::image::WantedImage;
use crate::operation::Reporter;
use crate::paths::VmDir;
use crate::store::{ImageRow, VmPhase, VmRow};

/// What the steps work on.
pub(super) struct Create {
    pub(super) services: Arc<Services>,
    pub(super) reporter: Reporter,
    pub(super) row: VmRow,
    pub(super) dir: VmDir,
    wanted: Option<WantedImage>,
    image: Option<ImageRow>,
    /// Where the disks are until all of the VM is there.
    staging: Option<StagingDir>,
    /// On its way to its name. It gets there, or fails, also when nobody waits any more; an undo has to wait
    /// for that.
    publishing: Option<JoinHandle<Result<(), FileError>>>,
}

impl Create {
    pub(super) fn new(services: Arc<Services>, reporter: Reporter, row: VmRow, image: WantedImage) -> Self {
        let dir = services.paths.vm(&row.id);
        Self {
            services,
            reporter,
            row,
            dir,
            wanted: Some(image),
            image: None,
            staging: None,
            publishing: None,
        }
    }
}

impl Create {
    /// A file of the VM's, where it is made.
    fn staged(&self, name: &str) -> Result<PathBuf, VmError> {
        let staging = self.staging.as_ref().ok_or(VmError::Unmade("the VM's directory"))?;
        Ok(staging.path().join(name))
    }
}

pub(super) const STEPS: &[Step<Create>] = &[
    // The row itself was written when the name was reserved, before there was an actor to run steps.
    Step { name: "reserve", run: nothing_to_undo, undo: remove_row },
    Step { name: "parts", run: get_parts, undo: nothing_to_undo },
    Step { name: "directory", run: make_directory, undo: remove_staging },
    Step { name: "cow disk", run: make_cow, undo: nothing_to_undo },
    Step { name: "work disk", run: make_work, undo: nothing_to_undo },
    Step { name: "publish", run: publish, undo: remove_directory },
    Step { name: "commit", run: commit, undo: nothing_to_undo },
];

fn remove_row(create: &mut Create) -> StepFuture<'_> {
    Box::pin(async { Ok(create.services.store.delete_vm(&create.row.id)?) })
}

/// Image and kernel, pulled or built when they are not there; from then on they cannot be deleted under the
/// VM.
fn get_parts(create: &mut Create) -> StepFuture<'_> {
    Box::pin(async {
        let services = create.services.clone();
        let wanted = create.wanted.take().ok_or(VmError::Unmade("the wanted image"))?;
        let image = services.images.ensure(wanted, &create.reporter).await?;
        let kernel = services.kernels.ensure(&create.row.spec.kernel, &create.reporter).await?;
        services.store.set_vm_parts(&create.row.id, &image.id, &kernel.id)?;
        create.row.image_id = Some(image.id.clone());
        create.row.kernel_id = Some(kernel.id);
        create.image = Some(image);
        Ok(())
    })
}

fn make_directory(create: &mut Create) -> StepFuture<'_> {
    Box::pin(async {
        create.reporter.stage(Stage::Disks, "making the VM's disks");
        create.staging = Some(StagingDir::new(&create.services.paths.vms())?);
        Ok(())
    })
}

fn remove_staging(create: &mut Create) -> StepFuture<'_> {
    Box::pin(async {
        // It goes with its owner.
        create.staging = None;
        Ok(())
    })
}

/// A directory with a VM's id for its name is a whole VM, and says which.
fn publish(create: &mut Create) -> StepFuture<'_> {
    Box::pin(async {
        let staging = create.staging.take().ok_or(VmError::Unmade("the VM's directory"))?;
        VmRecord::of(&create.row, None).write(&VmDir::at(staging.path()))?;
        let dest = create.dir.path().to_owned();
        let publishing =
            create.publishing.insert(tokio::task::spawn_blocking(move || staging.publish(&dest)));
        let published = publishing.await;
        create.publishing = None;
        Ok(published.map_err(|error| VmError::Broke(error.to_string()))??)
    })
}

fn remove_directory(create: &mut Create) -> StepFuture<'_> {
    Box::pin(async {
        if let Some(publishing) = create.publishing.take() {
            // However it ended: what it left has one of two names, and both are looked after.
            drop(publishing.await);
        }
        Ok(discard(create.dir.path()).await?)
    })
}

fn make_cow(create: &mut Create) -> StepFuture<'_> {
    Box::pin(async {
        let image = create.image.as_ref().ok_or(VmError::Unmade("the image"))?;
        Ok(disk::make_cow(&create.staged(VmDir::COW)?, image.size_bytes)?)
    })
}

fn make_work(create: &mut Create) -> StepFuture<'_> {
    Box::pin(async { Ok(disk::make_work(&create.staged(VmDir::WORK)?, create.row.spec.disk_mib).await?) })
}

fn commit(create: &mut Create) -> StepFuture<'_> {
    Box::pin(async {
        create.services.store.set_vm_phase(&create.row.id, VmPhase::Exists)?;
        create.row.phase = VmPhase::Exists;
        Ok(())
    })
}
