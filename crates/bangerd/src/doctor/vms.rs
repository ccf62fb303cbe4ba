use std::time::Duration;

use banger_api::Client;
use banger_api::doctor::Check;
use banger_api::record::is_held;
use banger_api::vm::{ListVms, Pause, VmState};

use super::{Host, warn};
use crate::paths::VmDir;
use crate::vm::fault;
use crate::vmm::{Vmms, pause_hint};

/// How long everybody who is asked may take together.
const LIMIT: Duration = Duration::from_secs(3);

/// One line for each VM that stands still or is broken. None is all right and takes no line.
pub(super) async fn checks(host: &Host) -> Vec<Check> {
    match tokio::time::timeout(LIMIT, told_by_daemon(host)).await {
        Ok(Some(lines)) => lines,
        // A VMM talks to one at a time, and without a daemon that is us.
        _ => tokio::time::timeout(LIMIT, seen(host)).await.unwrap_or_default(),
    }
}

fn paused(name: &str, pause: Pause) -> Check {
    warn(&format!("VM {name}"), format!("paused: {pause}"), Some(pause_hint(name, pause)))
}

fn broken(name: &str, why: &str) -> Check {
    let fix = format!("banger vm start {name}   # says what can be done about it");
    warn(&format!("VM {name}"), format!("broken: {why}"), Some(fix))
}

/// None when there is no daemon that answers.
async fn told_by_daemon(host: &Host) -> Option<Vec<Check>> {
    is_held(&host.paths.state).then_some(())?;
    // That it does not answer is told by the check of the daemon; the VMMs are then asked.
    let vms = Client::new().ok()?.vms(ListVms { all: false }).await.ok()?;
    let lines = vms.iter().filter_map(|vm| match (vm.paused_because, vm.state) {
        (Some(pause), _) => Some(paused(&vm.spec.name, pause)),
        (None, VmState::Broken) => Some(broken(&vm.spec.name, vm.last_error.as_deref().unwrap_or("unknown"))),
        _ => None,
    });
    Some(lines.collect())
}

async fn seen(host: &Host) -> Vec<Check> {
    // That the store cannot be read is told by its own check.
    let rows = host.store().and_then(|store| store.vms().ok()).unwrap_or_default();
    let vmms = &Vmms::of_this_host(&host.config.qemu_bin.value, &host.program);
    let looks = rows.into_iter().map(|row| async move {
        match row {
            Ok(row) => match pause_reason(vmms, &row.spec.vmm, &host.paths.vm(&row.id)).await {
                Some(pause) => Some(paused(row.name.as_str(), pause)),
                None => fault(&host.paths, &row).map(|fault| broken(row.name.as_str(), &fault.why())),
            },
            Err(damaged) => Some(broken(&damaged.name, &damaged.why)),
        }
    });
    // Those that are all right have nothing to say.
    futures_util::future::join_all(looks).await.into_iter().flatten().collect()
}

/// Why a guest stands still. None while it runs, or if its VMM cannot be asked.
async fn pause_reason(vmms: &Vmms, vmm: &str, dir: &VmDir) -> Option<Pause> {
    // See above.
    vmms.named(vmm).ok()?.attach(dir).await.ok()?.pause_reason().await.ok()?
}
