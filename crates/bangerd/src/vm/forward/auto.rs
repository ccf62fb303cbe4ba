//! Every TCP port that the guest listens on, at the VM's own loopback address.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio_util::sync::DropGuard;

use super::choice::{candidates, in_order};
use super::forwards::{Kind, Shared};
use super::listener::ActiveListener;
use crate::causes::on_one_line;
use crate::identity::loopback_address;
use crate::store::StoredForward;

/// How long until an agent that could not be asked is asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// How long nothing is changed after a change. An honest agent looks less often; another one must not keep
/// the daemon busy.
const BREATH: Duration = Duration::from_millis(200);

/// Follows the guest as long as it is held.
pub(super) struct AutoForward {
    _until: DropGuard,
}

impl AutoForward {
    pub(super) fn start(shared: Arc<Shared>) -> Self {
        let until = shared.ended.child_token();
        let guard = until.clone().drop_guard();
        tokio::spawn(async move {
            tokio::select! {
                () = follow(shared) => {}
                () = until.cancelled() => {}
            }
        });
        Self { _until: guard }
    }
}

/// Never ends by itself.
async fn follow(shared: Arc<Shared>) {
    let mut active = BTreeMap::new();
    loop {
        match shared.guest.watch_ports().await {
            Ok(mut changes) => {
                while let Some(Ok(now)) = changes.next().await {
                    adjust(&shared, &mut active, &now.ports);
                    tokio::time::sleep(BREATH).await;
                }
            }
            Err(error) => {
                tracing::debug!(
                    vm = shared.name,
                    why = on_one_line(&error),
                    "its ports cannot be followed now"
                );
            }
        }
        // The session broke, or the VM stands still. Listeners stay: the guest most likely does.
        tokio::time::sleep(PAUSE).await;
    }
}

fn adjust(shared: &Arc<Shared>, active: &mut BTreeMap<u16, ActiveListener>, ports: &[u16]) {
    active.retain(|guest, _| ports.binary_search(guest).is_ok());
    for guest in in_order(ports) {
        if active.contains_key(&guest) {
            continue;
        }
        match choose(shared, guest) {
            Some(listener) => {
                active.insert(guest, listener);
            }
            None => tracing::warn!(vm = shared.name, guest, "no port of the host is free to forward it from"),
        }
    }
}

fn choose(shared: &Arc<Shared>, guest: u16) -> Option<ActiveListener> {
    let address = loopback_address(&shared.id).into();
    let bound = candidates(guest).find_map(|local| {
        let wanted = StoredForward { address, local, guest };
        // Whoever has it, there is another one.
        shared.ports.bind(&shared.name, wanted).ok()
    })?;
    Some(ActiveListener::start(shared.clone(), bound, Kind::Auto, None))
}
