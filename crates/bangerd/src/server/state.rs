use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use banger_host::clean_start::TakenOver;
use tokio_util::sync::CancellationToken;

use super::presence::Presence;
use crate::catalog::Catalog;
use crate::dns::DnsServer;
use crate::operation::Operations;
use crate::vm::{Services, Vms};

/// How long a session may take to be put away after its client has left.
const SETTLE_LIMIT: Duration = Duration::from_millis(500);

/// What every handler gets.
#[derive(Clone)]
pub(super) struct AppState {
    pub(super) presence: Presence,
    pub(super) taken_over: Arc<TakenOver>,
    pub(super) services: Arc<Services>,
    pub(super) catalog: Catalog,
    pub(super) vms: Vms,
    pub(super) dns: DnsServer,
    pub(super) sessions: Sessions,
    pub(super) started: Instant,
    /// Triggered when the daemon is to end.
    pub(super) stopping: CancellationToken,
}

impl AppState {
    pub(super) fn operations(&self) -> &Operations {
        &self.services.operations
    }
}

/// Counts what would break if the daemon ended now.
#[derive(Clone, Default)]
pub(super) struct Sessions(Arc<AtomicUsize>);

impl Sessions {
    /// Counts one session for as long as the answer is held.
    pub(super) fn enter(&self) -> Session {
        self.0.fetch_add(1, Ordering::Relaxed);
        Session(self.clone())
    }

    pub(super) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts them, but gives those that are just ending a moment: a client knows of its command's end a
    /// little before the session is put away here.
    pub(super) async fn count_settled(&self) -> usize {
        let end = Instant::now() + SETTLE_LIMIT;
        while self.count() > 0 && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.count()
    }
}

pub(super) struct Session(Sessions);

impl Drop for Session {
    fn drop(&mut self) {
        (self.0.0).fetch_sub(1, Ordering::Relaxed);
    }
}
