use std::sync::Arc;
use std::time::Duration;

use banger_api::ports::ForwardEvent;
use banger_guest_protocol::forward::{carry, reset};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::Bound;
use super::forwards::{Endpoint, Kind, Shared};
use crate::causes::on_one_line;

/// Out of descriptors, most likely: time heals that, and a busy loop does not.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Takes connections as long as it is held; they end with it.
pub(super) struct ActiveListener {
    _until: DropGuard,
}

/// Who hears of connections that come to nothing.
pub(super) type Told = Option<mpsc::Sender<ForwardEvent>>;

impl ActiveListener {
    pub(super) fn start(shared: Arc<Shared>, bound: Bound, kind: Kind, told: Told) -> Self {
        // It ends with the VM as well.
        let until = shared.ended.child_token();
        shared.add(Endpoint { address: bound.address, guest: bound.guest, kind });
        tokio::spawn(take(shared, bound, told, until.clone()));
        Self { _until: until.drop_guard() }
    }
}

async fn take(shared: Arc<Shared>, bound: Bound, told: Told, until: CancellationToken) {
    let refusals = Refusals { told, last_was_refused: false.into() };
    let refusals = Arc::new(refusals);
    let accept = async {
        loop {
            // Before it is accepted: those for whom there is no room wait in the kernel, for a slow server.
            let Some(permit) = shared.guest.connection_permit().await else { return };
            match bound.listener.accept().await {
                Ok((connection, _)) => {
                    let (shared, refusals, until) = (shared.clone(), refusals.clone(), until.clone());
                    tokio::spawn(serve(shared, connection, bound.guest, refusals, until, permit));
                }
                Err(error) => {
                    tracing::warn!(%error, address = %bound.address, "could not accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        () = accept => {}
        () = until.cancelled() => {}
    }
    // In this order: what is not listed can be bound again.
    let address = bound.address;
    drop(bound);
    shared.remove(address);
}

async fn serve(
    shared: Arc<Shared>,
    connection: TcpStream,
    guest: u16,
    refusals: Arc<Refusals>,
    until: CancellationToken,
    _permit: OwnedSemaphorePermit,
) {
    let carried = async {
        let stream = match shared.guest.forward(guest).await {
            Ok(stream) => stream,
            Err(error) => {
                // Not an end, which would be an empty answer.
                reset(&connection);
                return refusals.refused(guest, || on_one_line(&error));
            }
        };
        refusals.succeeded();
        if let Err(error) = carry(&connection, stream).await {
            tracing::debug!(vm = shared.name, guest, why = on_one_line(&error), "a connection was cut off");
        }
    };
    tokio::select! {
        () = carried => {}
        () = until.cancelled() => reset(&connection),
    }
}

/// Tells of the first of several connections that come to nothing.
struct Refusals {
    told: Told,
    last_was_refused: std::sync::atomic::AtomicBool,
}

impl Refusals {
    fn refused(&self, port: u16, why: impl FnOnce() -> String) {
        use std::sync::atomic::Ordering::Relaxed;
        if !self.last_was_refused.swap(true, Relaxed)
            && let Some(told) = &self.told
        {
            // Whoever does not read has been told enough.
            let _told = told.try_send(ForwardEvent::Refused { port, why: why() });
        }
    }

    fn succeeded(&self) {
        self.last_was_refused.store(false, std::sync::atomic::Ordering::Relaxed);
    }
}
