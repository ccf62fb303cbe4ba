//! Deleting a stopped VM: every trace of it.

use std::sync::Arc;

use banger_api::operation::Stage;
use banger_host::staging::discard;

use super::VmError;
use super::registry::Services;
use crate::operation::Reporter;
use crate::store::{VmPhase, VmRow};

/// There is no undo: from the first step on it can only go forward, now or when it is tried again. The row goes last, so
/// that what is left of an attempt that failed is still found by it.
pub(super) async fn delete(
    services: &Arc<Services>,
    row: &VmRow,
    reporter: &Reporter,
) -> Result<(), VmError> {
    reporter.stage(Stage::Cleanup, "removing the VM");
    match services.store.set_vm_phase(&row.id, VmPhase::Deleting) {
        // A full disk must not keep anybody from making room on it. The directory is marked by its name as well.
        Err(error) if error.is_disk_full() => tracing::warn!(vm = %row.name, "no room to note that it goes"),
        noted => noted?,
    }
    discard(services.paths.vm(&row.id).path()).await?;
    Ok(services.store.delete_vm(&row.id)?)
}
