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
    services.store.set_vm_phase(&row.id, VmPhase::Deleting)?;
    discard(services.paths.vm(&row.id).path()).await?;
    Ok(services.store.delete_vm(&row.id)?)
}
