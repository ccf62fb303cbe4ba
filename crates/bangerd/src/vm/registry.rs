use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use banger_host::process::Signal;
use banger_host::sandbox::peer::{Origin, origin};
use tokio::sync::oneshot;

use super::VmError;
use super::forward::HostPorts;
use super::mailbox::{Answer, Mail, PendingRequest, VmHandle};
use super::patches::PendingPatches;
use super::state::{Request, State};
use super::unexported::tell_unasked;
use super::view::VmView;
use super::wholeness::{self, VmsDir};
use crate::config::{Config, HostSize};
use crate::identity::{VmId, loopback_address};
use crate::image::ImageService;
use crate::kernel::KernelService;
use crate::network::Gateways;
use crate::operation::{Operations, Reporter};
use crate::paths::Paths;
use crate::spelling::nearest;
use crate::ssh::Ssh;
use crate::store::Store;
use crate::store::words::Lifetime;
use crate::vmm::{Accelerator, Vmms};

/// How long a guest may take to shut down before it is deleted.
const DELETE_GRACE: Duration = Duration::from_secs(20);

/// What the orchestrator works with.
pub struct Services {
    pub store: Store,
    pub paths: Paths,
    pub config: Config,
    pub host: HostSize,
    pub images: ImageService,
    pub kernels: KernelService,
    pub accelerator: Accelerator,
    pub vmms: Vmms,
    pub gateways: Gateways,
    pub operations: Operations,
    pub ssh: Ssh,
    pub host_ports: HostPorts,
}

/// The actors, by id.
#[derive(Clone, Default)]
pub(super) struct VmTable(Arc<Mutex<BTreeMap<VmId, VmHandle>>>);

impl VmTable {
    pub(super) fn insert(&self, id: VmId, handle: VmHandle) {
        self.lock().insert(id, handle);
    }

    pub(super) fn remove(&self, id: &VmId) {
        self.lock().remove(id);
    }

    pub(super) fn get(&self, id: &VmId) -> Option<VmHandle> {
        self.lock().get(id).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<VmId, VmHandle>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All VMs of this user.
#[derive(Clone)]
pub struct Vms {
    pub(super) services: Arc<Services>,
    pub(super) table: VmTable,
    pub(super) patches: PendingPatches,
    /// Whoever changes an egress policy, of any VM.
    pub(super) egress_turn: Arc<tokio::sync::Mutex<()>>,
}

/// How many VMs there are.
#[derive(Default)]
pub struct Counts {
    pub total: usize,
    pub running: usize,
    /// The names of those that live by a connection.
    pub leased: Vec<String>,
}

impl Vms {
    pub fn new(services: Arc<Services>) -> Self {
        Self {
            services,
            table: VmTable::default(),
            patches: PendingPatches::default(),
            egress_turn: Arc::default(),
        }
    }

    /// Takes in a VM that is stopped, as a daemon does when it starts.
    #[cfg(test)]
    pub(super) fn take_in(&self, row: crate::store::VmRow) {
        let initial = super::actor::Initial::Stopped;
        super::actor::Actor::spawn(self.services.clone(), self.table.clone(), row, initial);
    }

    /// Somebody may have removed files of a VM since it was looked at, or put them back.
    fn checked(&self, view: VmView) -> VmView {
        if view.state != State::Stopped {
            return view;
        }
        let fault = wholeness::fault(&self.services.paths, &view.row);
        VmView { broken: fault.map(|fault| view.broken.unwrap_or_else(|| fault.why())), ..view }
    }

    /// Every VM as it is now, oldest first. Waits for nobody.
    pub fn list(&self) -> Vec<VmView> {
        self.sorted(self.handles().iter().map(|handle| self.checked(handle.view())))
    }

    /// Those of which something runs, or is wrong. A user may have hundreds that rest.
    pub fn list_active(&self) -> Vec<VmView> {
        let vms = VmsDir::open(&self.services.paths);
        let mut handles = self.handles();
        handles.retain(|handle| !handle.at_rest().is_some_and(|id| vms.has_disks(&id)));
        let views = handles.iter().map(|handle| self.checked(handle.view()));
        self.sorted(views.filter(|view| view.state != State::Stopped || view.broken.is_some()))
    }

    /// Every VM as its actor knows it, whatever has become of its files.
    pub fn views(&self) -> Vec<VmView> {
        self.sorted(self.handles().iter().map(VmHandle::view))
    }

    /// Their numbers, for whoever does not want to know more: every command asks for them.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for (state, leased) in self.handles().iter().map(VmHandle::state_and_lease) {
            if state == State::Gone {
                continue;
            }
            counts.total += 1;
            counts.running += usize::from(state == State::Running);
            counts.leased.extend(leased);
        }
        counts.leased.sort();
        counts
    }

    fn handles(&self) -> Vec<VmHandle> {
        self.table.lock().values().cloned().collect()
    }

    fn sorted(&self, views: impl Iterator<Item = VmView>) -> Vec<VmView> {
        let mut views: Vec<VmView> = views.filter(|view| view.state != State::Gone).collect();
        views.sort_by(|a, b| {
            (a.row.created_at_unix_ms, &a.row.id).cmp(&(b.row.created_at_unix_ms, &b.row.id))
        });
        views
    }

    /// Is process `pid` a VMM, of this daemon or another of the user's, or one that belongs to it?
    pub fn origin(&self, pid: i32) -> Origin {
        let vmms: Vec<_> = self.handles().iter().filter_map(VmHandle::vmm).collect();
        let alive = vmms.iter().filter(|vmm| vmm.is_alive());
        let known: Vec<i32> = alive.map(|vmm| vmm.identity().pid).collect();
        // One that is being started, and one of another daemon, shows where it runs.
        origin(pid, &known, is_vm_dir)
    }

    /// The VM that `reference` names: by name, id or the beginning of an id that is no other's.
    ///
    /// # Errors
    ///
    /// When there is none, or more than one.
    pub fn find(&self, reference: &str) -> Result<VmView, VmError> {
        let views = self.views();
        let exact = |view: &&VmView| view.row.name.as_str() == reference || view.row.id.as_str() == reference;
        if let Some(view) = views.iter().find(exact) {
            return Ok(self.checked(view.clone()));
        }
        let starts = |view: &&VmView| !reference.is_empty() && view.row.id.as_str().starts_with(reference);
        match views.iter().filter(starts).collect::<Vec<_>>()[..] {
            [view] => Ok(self.checked(view.clone())),
            [] => {
                let names = views.iter().map(|view| view.row.name.as_str());
                let similar = nearest(reference, names).map(str::to_owned);
                Err(VmError::NotFound { reference: reference.into(), similar })
            }
            ref several => {
                let candidates =
                    several.iter().map(|view| format!("{} ({})", view.row.name, view.row.id)).collect();
                Err(VmError::Ambiguous { reference: reference.into(), candidates })
            }
        }
    }

    /// The address by which the VM of that name is reached from this host while it runs. Waits for nobody.
    pub fn address_of(&self, name: &str) -> Option<Ipv4Addr> {
        let its_own = |view: &VmView| {
            let runs = view.state == State::Running && view.row.name.as_str() == name;
            runs.then(|| loopback_address(&view.row.id))
        };
        self.table.lock().values().find_map(|handle| handle.view.part(its_own))
    }

    /// Starts a VM, or waits until it has.
    ///
    /// # Errors
    ///
    /// When it cannot be started; it is stopped then, with nothing left of the attempt.
    pub async fn start(&self, id: &VmId, reporter: &Reporter) -> Result<VmView, Arc<VmError>> {
        Ok(self.request(id, Request::Start, Duration::ZERO, reporter).await?.view)
    }

    /// Shuts a VM down, and kills it when it takes longer than `grace`. Says whether it was killed. What
    /// would go with a VM that is deleted when it stops is told before.
    ///
    /// # Errors
    ///
    /// When it is not in a state to be stopped, or cannot even be killed.
    pub async fn stop(
        &self,
        id: &VmId,
        grace: Duration,
        reporter: &Reporter,
    ) -> Result<(VmView, bool), Arc<VmError>> {
        let handle = self.handle(id)?;
        if handle.view().goes_when_it_stops() {
            self.tell_unexported(&handle, reporter).await;
        }
        let answer = self.request(id, Request::Stop, grace, reporter).await?;
        Ok((answer.view, answer.killed))
    }

    /// Ends a VM's process without asking the guest.
    ///
    /// # Errors
    ///
    /// As [`Self::stop`].
    pub async fn kill(&self, id: &VmId, reporter: &Reporter) -> Result<VmView, Arc<VmError>> {
        let handle = self.handle(id)?;
        if handle.view().goes_when_it_stops() {
            tell_unasked(&handle, reporter);
        }
        Ok(self.request(id, Request::Kill, Duration::ZERO, reporter).await?.view)
    }

    /// Sends a signal to a VM's process, which stays in charge of what it does about it.
    ///
    /// # Errors
    ///
    /// When it does not run.
    pub fn signal(&self, view: &VmView, signal: Signal) -> Result<(), VmError> {
        let not_running = || VmError::NotRunning { name: view.row.name.to_string(), state: view.api_state() };
        let running = view.running.as_ref().ok_or_else(not_running)?;
        running.process.signal(signal)?.then_some(()).ok_or_else(not_running)
    }

    /// Removes every trace of a VM, and tells before what has not been exported; fine when there is none.
    /// `force` kills where a shutdown would be tried.
    ///
    /// # Errors
    ///
    /// When something of it cannot be removed. It is then still listed and can be deleted again.
    pub async fn delete(&self, id: &VmId, force: bool, reporter: &Reporter) -> Result<(), Arc<VmError>> {
        if let Some(handle) = self.table.get(id) {
            self.tell_unexported(&handle, reporter).await;
        }
        self.remove(id, force, reporter).await
    }

    /// The same by force and without a word, of a VM that nobody wants any more.
    ///
    /// # Errors
    ///
    /// As [`Self::delete`].
    pub async fn discard(&self, id: &VmId, reporter: &Reporter) -> Result<(), Arc<VmError>> {
        self.remove(id, true, reporter).await
    }

    async fn remove(&self, id: &VmId, force: bool, reporter: &Reporter) -> Result<(), Arc<VmError>> {
        let grace = if force { Duration::ZERO } else { DELETE_GRACE };
        match self.request(id, Request::Delete { force }, grace, reporter).await {
            Ok(_) => Ok(()),
            Err(error) if matches!(*error, VmError::NotFound { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn request(
        &self,
        id: &VmId,
        request: Request,
        grace: Duration,
        reporter: &Reporter,
    ) -> Result<Answer, Arc<VmError>> {
        let handle = self.table.get(id).ok_or_else(|| not_found(id))?;
        let (reply, answer) = oneshot::channel();
        let pending = PendingRequest { request, grace, reporter: reporter.clone(), reply };
        handle.requests.send(Mail::Request(pending)).await.map_err(|_| not_found(id))?;
        answer.await.map_err(|_| not_found(id))?
    }
}

/// Does the path end as every daemon's do (see [`Paths`])? The kernel says so of a directory that was
/// removed.
fn is_vm_dir(dir: &Path) -> bool {
    let dir = dir.to_string_lossy();
    let mut names = dir.strip_suffix(" (deleted)").unwrap_or(&dir).rsplit('/');
    names.next().and_then(VmId::parse).is_some()
        && names.next() == Some("vms")
        && names.next() == Some("banger")
}

pub(super) fn not_found(id: &VmId) -> Arc<VmError> {
    Arc::new(VmError::NotFound { reference: id.to_string(), similar: None })
}

impl VmView {
    /// Is it deleted when the connection that asked for it goes?
    pub fn is_leased(&self) -> bool {
        self.row.spec.lifetime == Lifetime::Leased
    }

    /// Is it deleted as soon as it has stopped, whatever stopped it?
    pub fn goes_when_it_stops(&self) -> bool {
        self.row.spec.lifetime == Lifetime::UntilStopped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_of_vms_are_told_from_others() {
        for (dir, is) in [
            ("/home/u/.local/state/banger/vms/0123456789ab", true),
            ("/x/banger/vms/0123456789ab (deleted)", true),
            ("/x/banger/vms", false),
            ("/x/banger/vms/0123456789ab/sub", false),
            ("/x/banger/vms/work", false),
            ("/x/other/vms/0123456789ab", false),
            ("/", false),
        ] {
            assert_eq!(is_vm_dir(Path::new(dir)), is, "{dir}");
        }
    }
}
