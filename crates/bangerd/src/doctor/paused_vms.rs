use std::time::Duration;

use banger_api::Client;
use banger_api::doctor::Check;
use banger_api::vm::{ListVms, Pause};

use super::{Host, warn};
use crate::vmm::{look, pause_hint};

/// How long everybody who is asked may take together.
const LIMIT: Duration = Duration::from_secs(3);

/// One line for each VM that stands still. None is all right and takes no line.
pub(super) async fn checks(host: &Host) -> Vec<Check> {
    let paused = match tokio::time::timeout(LIMIT, told_by_daemon(host)).await {
        Ok(Some(paused)) => paused,
        // A VMM talks to one at a time, and without a daemon that is us.
        _ => tokio::time::timeout(LIMIT, seen(host)).await.unwrap_or_default(),
    };
    let check = |(name, pause): (String, Pause)| {
        warn(&format!("VM {name}"), format!("paused: {pause}"), Some(pause_hint(&name, pause)))
    };
    paused.into_iter().map(check).collect()
}

/// None when there is no daemon that answers.
async fn told_by_daemon(host: &Host) -> Option<Vec<(String, Pause)>> {
    // Making a client makes the socket's directory, and nothing is to be made here.
    host.paths.socket.exists().then_some(())?;
    // That it does not answer is told by the check of the daemon; the VMMs are then asked.
    let vms = Client::new().ok()?.vms(ListVms { all: false }).await.ok()?;
    Some(vms.into_iter().filter_map(|vm| Some((vm.spec.name, vm.paused_because?))).collect())
}

async fn seen(host: &Host) -> Vec<(String, Pause)> {
    // That the store cannot be read is told by its own check.
    let rows = host.store().and_then(|store| store.vms().ok()).unwrap_or_default();
    let looks = rows.into_iter().flatten().map(|row| async move {
        let pause = look(&host.paths.vm(&row.id)).await?;
        Some((row.name.to_string(), pause))
    });
    let pauses = futures_util::future::join_all(looks).await;
    pauses.into_iter().flatten().collect()
}
