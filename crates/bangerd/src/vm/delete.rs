//! Deleting a stopped VM: every trace of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use banger_api::operation::Stage;
use banger_host::staging::discard;

use super::registry::Services;
use super::{VmError, returned};
use crate::operation::Reporter;
use crate::store::{VmPhase, VmRow};

/// How long to wait for the room that the disks took, and how often to look.
const ROOM_LIMIT: Duration = Duration::from_secs(5);
const ROOM_INTERVAL: Duration = Duration::from_millis(50);

/// There is no undo: from the first step on it can only go forward, now or when it is tried again. The row
/// goes last, so that what is left of an attempt that failed is still found by it.
pub(super) async fn delete(
    services: &Arc<Services>,
    row: &VmRow,
    reporter: &Reporter,
) -> Result<(), VmError> {
    reporter.stage(Stage::Cleanup, "removing the VM");
    match services.store.set_vm_phase(&row.id, VmPhase::Deleting) {
        // A full disk must not keep anybody from making room on it. The directory is marked by its name as
        // well.
        Err(error) if error.is_disk_full() => tracing::warn!(vm = %row.name, "no room to note that it goes"),
        noted => noted?,
    }
    returned::end(&services.paths.vm(&row.id)).await?;
    discard(services.paths.vm(&row.id).path()).await?;
    forget_host_key(services, row);
    remove_row(services, row).await
}

/// A line too many hurts nobody: the next start of a daemon finds it, and so does another VM of that name.
fn forget_host_key(services: &Services, row: &VmRow) {
    if let Err(error) = services.ssh.forget(&row.id) {
        tracing::warn!(vm = %row.name, causes = ?crate::causes::chain(&error), "its host key stays known");
    }
}

/// The room that the disks took is not there at once: the kernel frees large files by and by.
async fn remove_row(services: &Arc<Services>, row: &VmRow) -> Result<(), VmError> {
    let deadline = Instant::now() + ROOM_LIMIT;
    loop {
        match services.store.delete_vm(&row.id) {
            Err(error) if error.is_disk_full() && Instant::now() < deadline => {
                tokio::time::sleep(ROOM_INTERVAL).await;
            }
            removed => return Ok(removed?),
        }
    }
}
