//! A VM whose directory was away, and is back: its process may have run on in it all the while.

use std::time::Duration;

use banger_host::process::{ProcessHandle, ProcessIdentity};

use super::VmError;
use super::handles::Handles;
use super::recover::adopt_gateway;
use super::registry::Services;
use super::start::Started;
use super::stop::kill_and_wait;
use super::wholeness::fault;
use crate::paths::VmDir;
use crate::store::VmRow;

/// How often to look whether what was missing of a broken VM is back.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Comes back when nothing is missing of a broken VM any more.
pub(super) async fn is_whole(services: &Services, row: &VmRow) {
    while fault(&services.paths, row).is_some() {
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// The VM as it runs, though nobody knew.
pub(super) fn running(services: &Services, row: &VmRow) -> Option<Started> {
    let dir = services.paths.vm(&row.id);
    // A VMM that this daemon does not know could not be talked to.
    let vmm = services.vmms.named(&row.spec.vmm).ok()?;
    let (process, handles) = known(&dir).filter(|(_, handles)| handles.came_up)?;
    tracing::warn!(vm = %row.name, pid = process.identity().pid, "it was running all the while");
    let gateway = match services.gateways.find(&services.paths.vms()) {
        Ok(found) => {
            let own = found.into_iter().filter(|(id, _)| *id == row.id).map(|(_, gateway)| gateway);
            adopt_gateway(services, row, &dir, &process, own.collect())
        }
        // Whether it has one is not known: a second one would be in its way.
        Err(error) => {
            tracing::error!(vm = %row.name, causes = ?crate::causes::chain(&error), "its network is left alone");
            None
        }
    };
    Some(Started::found(vmm, process, dir, gateway, handles))
}

/// Ends a process whose start no daemon has ended: it has the disks that the next one needs.
pub(super) async fn end_unfinished(dir: &VmDir) -> Result<(), VmError> {
    match known(dir) {
        Some((process, handles)) if !handles.came_up => kill_and_wait(&process).await,
        _ => Ok(()),
    }
}

/// Ends a process that nobody knew of, before its disks go.
pub(super) async fn end(dir: &VmDir) -> Result<(), VmError> {
    match Handles::process(dir).and_then(|identity| working_in(dir, identity)) {
        Some(process) => kill_and_wait(&process).await,
        None => Ok(()),
    }
}

fn known(dir: &VmDir) -> Option<(ProcessHandle, Handles)> {
    let handles = Handles::read(dir)?;
    Some((working_in(dir, handles.process)?, handles))
}

fn working_in(dir: &VmDir, identity: ProcessIdentity) -> Option<ProcessHandle> {
    // One that cannot be looked at is not the user's.
    let process = ProcessHandle::open(identity).ok()??;
    process.works_in(dir.path()).then_some(process)
}
