use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use banger_api::ports::ForwardEvent;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::auto::AutoForward;
use super::listener::{ActiveListener, Told};
use super::{Bound, ForwardError, HostPorts};
use crate::causes::on_one_line;
use crate::guest::Guest;
use crate::identity::VmId;
use crate::latest::{Follower, Latest};
use crate::store::{StoredForward, VmRow};

/// How long until a published port that somebody else has is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// Events that wait for a client; it is told no more than it reads.
const EVENTS: usize = 64;

/// The forwards of a VM that runs. They end when the last of its clones goes.
#[derive(Clone)]
pub struct Forwards {
    shared: Arc<Shared>,
    _until: Arc<DropGuard>,
}

/// What listeners and connections share. It does not keep them going.
pub(super) struct Shared {
    pub(super) id: VmId,
    pub(super) name: String,
    pub(super) guest: Guest,
    pub(super) ports: HostPorts,
    /// Nothing is forwarded any more.
    pub(super) ended: CancellationToken,
    endpoints: Mutex<Vec<Endpoint>>,
    shown: Latest<Vec<Endpoint>>,
    /// All who want it share one.
    auto: Mutex<Weak<AutoForward>>,
}

/// An address of the host that leads to a port of the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) address: SocketAddr,
    pub(super) guest: u16,
    pub(super) kind: Kind,
}

/// Who has asked for it. What people have named comes before what was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Published,
    Forwarded,
    Auto,
}

impl Shared {
    pub(super) fn add(&self, endpoint: Endpoint) {
        self.change(|endpoints| endpoints.push(endpoint));
    }

    pub(super) fn remove(&self, address: SocketAddr) {
        self.change(|endpoints| endpoints.retain(|endpoint| endpoint.address != address));
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Endpoint>)) {
        let mut endpoints = self.endpoints.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut endpoints);
        self.shown.set(endpoints.clone());
    }

    fn auto(self: &Arc<Self>) -> Arc<AutoForward> {
        let mut auto = self.auto.lock().unwrap_or_else(PoisonError::into_inner);
        auto.upgrade().unwrap_or_else(|| {
            let started = Arc::new(AutoForward::start(self.clone()));
            *auto = Arc::downgrade(&started);
            started
        })
    }
}

impl Forwards {
    /// Begins with what is kept with the VM. `bound` are those of its published ports that are listened on
    /// already; the others are tried until they are free.
    pub(in crate::vm) fn begin(row: &VmRow, guest: Guest, ports: HostPorts, bound: Vec<Bound>) -> Self {
        let ended = CancellationToken::new();
        let shared = Arc::new(Shared {
            id: row.id.clone(),
            name: row.name.to_string(),
            guest,
            ports,
            ended: ended.clone(),
            endpoints: Mutex::default(),
            shown: Latest::new(Vec::new()),
            auto: Mutex::default(),
        });
        let missing = missing(&row.spec.publish, &bound);
        if row.spec.auto_forward || !row.spec.publish.is_empty() {
            tokio::spawn(keep(shared.clone(), bound, missing, row.spec.auto_forward));
        }
        Self { shared, _until: Arc::new(ended.drop_guard()) }
    }

    /// Nothing is forwarded any more.
    pub(in crate::vm) fn end(&self) {
        self.shared.ended.cancel();
    }

    /// Where the guest's ports can be reached now, what was asked for by number first.
    pub(super) fn endpoints(&self) -> Vec<Endpoint> {
        let mut endpoints = self.shared.shown.follow().get();
        endpoints.sort_by_key(|endpoint| (endpoint.kind, endpoint.address));
        endpoints
    }

    /// Forwards ports for as long as the answer is held.
    ///
    /// # Errors
    ///
    /// When one of them cannot be listened on, with the guest's port; then none is.
    pub fn session(&self, wanted: &[StoredForward], auto: bool) -> Result<Session, (ForwardError, u16)> {
        let shared = &self.shared;
        let bound = shared.ports.bind_all(&shared.name, wanted)?;
        let (told, events) = mpsc::channel(EVENTS);
        let own = bound.iter().map(|bound| (bound.address, bound.guest)).collect();
        let start = |bound| ActiveListener::start(shared.clone(), bound, Kind::Forwarded, Some(told.clone()));
        Ok(Session {
            _listeners: bound.into_iter().map(start).collect(),
            own,
            auto: auto.then(|| (shared.auto(), shared.shown.follow())),
            told_of: Vec::new(),
            events,
            _told: Some(told),
            ended: shared.ended.clone(),
        })
    }
}

/// Holds what is kept with the VM, until it does not run any more.
async fn keep(shared: Arc<Shared>, bound: Vec<Bound>, mut missing: Vec<StoredForward>, auto: bool) {
    let start = |bound| ActiveListener::start(shared.clone(), bound, Kind::Published, Told::None);
    let mut listeners: Vec<ActiveListener> = bound.into_iter().map(start).collect();
    let _auto = auto.then(|| shared.auto());
    let mut complained = false;
    let retry = async {
        while !missing.is_empty() {
            missing.retain(|forward| match shared.ports.bind(&shared.name, *forward) {
                Ok(bound) => {
                    listeners.push(start(bound));
                    false
                }
                Err(error) => {
                    if !complained {
                        tracing::warn!(
                            vm = shared.name,
                            why = on_one_line(&error),
                            "a published port is not forwarded yet"
                        );
                    }
                    true
                }
            });
            complained = true;
            tokio::time::sleep(RETRY).await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = retry => {}
        () = shared.ended.cancelled() => {}
    }
}

fn missing(wanted: &[StoredForward], bound: &[Bound]) -> Vec<StoredForward> {
    // They are bound all or none.
    if bound.is_empty() { wanted.to_vec() } else { Vec::new() }
}

/// The forwards of one client.
pub struct Session {
    _listeners: Vec<ActiveListener>,
    /// Told first.
    own: std::collections::VecDeque<(SocketAddr, u16)>,
    auto: Option<(Arc<AutoForward>, Follower<Vec<Endpoint>>)>,
    /// What `auto` has been said to forward.
    told_of: Vec<Endpoint>,
    events: mpsc::Receiver<ForwardEvent>,
    /// Where nothing is listened on, nobody else keeps the channel open.
    _told: Option<mpsc::Sender<ForwardEvent>>,
    ended: CancellationToken,
}

impl Session {
    /// What happens next; none after the VM has ended.
    pub async fn next(&mut self) -> Option<ForwardEvent> {
        if let Some((address, port)) = self.own.pop_front() {
            return Some(ForwardEvent::Listening { address, port });
        }
        let changed = async {
            match &mut self.auto {
                Some((_, shown)) => difference(shown, &mut self.told_of).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            event = self.events.recv() => event,
            event = changed => event,
            () = self.ended.cancelled() => None,
        }
    }
}

/// The next difference between what is shown and what was told.
async fn difference(shown: &mut Follower<Vec<Endpoint>>, told: &mut Vec<Endpoint>) -> Option<ForwardEvent> {
    let is_auto = |endpoint: &&Endpoint| endpoint.kind == Kind::Auto;
    let now = shown
        .wait_for(|now| {
            now.iter().filter(is_auto).count() != told.len() || !told.iter().all(|one| now.contains(one))
        })
        .await?;
    if let Some(gone) = told.iter().position(|endpoint| !now.contains(endpoint)) {
        let Endpoint { address, guest, .. } = told.swap_remove(gone);
        return Some(ForwardEvent::Closed { address, port: guest });
    }
    let new = *now.iter().filter(is_auto).find(|endpoint| !told.contains(endpoint))?;
    told.push(new);
    Some(ForwardEvent::Listening { address: new.address, port: new.guest })
}
