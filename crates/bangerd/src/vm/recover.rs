//! Store versus reality, when the daemon starts: what runs is found again, what is half made or half gone is
//! removed, and what the store has forgotten comes back.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use banger_api::vm::Acceleration;
use banger_guest_protocol::messages::Phase;
use banger_host::process::{FoundProcess, ProcessHandle, find_by_cwd_and_arg};
use banger_host::staging::{discard, remove_stale};
use tokio_util::sync::CancellationToken;

use super::actor::{Actor, Initial};
use super::handles::Handles;
use super::job::{ActiveJob, JobEnd};
use super::registry::{Services, Vms};
use super::start::Started;
use super::stop::{clean_up, kill_and_wait};
use super::strays::Strays;
use super::user_files::UserFiles;
use super::{VmError, wholeness};
use crate::clock::unix_ms;
use crate::guest::Guest;
use crate::identity::{VmId, VmName};
use crate::network::Gateway;
use crate::operation::Reporter;
use crate::paths::VmDir;
use crate::store::words::{Lifetime, Network};
use crate::store::{UnreadableVm, VmPhase, VmRow};
use crate::vmm::{MARKER_START, PauseWatch, Vmm, marker};

/// How long an agent may take to say how it is, before its VM counts as one that never came up.
const ADOPTION_LIMIT: Duration = Duration::from_secs(10);

/// How long a VMM may take to say what runs its guest.
const MONITOR_LIMIT: Duration = Duration::from_secs(5);

impl Vms {
    /// Brings every VM of the store, and every one that only its directory knows of, back to life as an
    /// actor.
    ///
    /// # Errors
    ///
    /// When the store or `/proc` cannot be read. What goes wrong with one VM is told of that one, and keeps
    /// nobody else from starting.
    pub async fn recover(&self) -> Result<(), VmError> {
        self.sweep_stale().await;
        let mut processes = self.find_processes()?;
        let mut gateways = self.find_gateways()?;
        let (mut rows, mut unreadable) = (Vec::new(), Vec::new());
        for row in self.services.store.vms()? {
            match row {
                Ok(row) => rows.push(row),
                Err(mut damaged) => match self.strays().repair(&mut damaged) {
                    Some(row) => rows.push(row),
                    None => unreadable.push(damaged),
                },
            }
        }
        let ids = rows.iter().map(|row| row.id.clone());
        let known: HashSet<VmId> =
            ids.chain(unreadable.iter().filter_map(|damaged| VmId::parse(&damaged.id))).collect();
        let (reclaimed, stuck) = self.strays().reclaim(&known, &processes.keys().cloned().collect());
        rows.extend(reclaimed);
        for row in rows {
            let found = processes.remove(&row.id).unwrap_or_default();
            if let Err(error) =
                self.recover_one(row.clone(), found, gateways.remove(&row.id).unwrap_or_default()).await
            {
                let why = crate::causes::on_one_line(&error);
                tracing::error!(vm = %row.name, why, "could not be recovered");
                self.bring_back(row, Initial::Broken(why));
            }
        }
        for damaged in unreadable {
            let why = format!("its row in the state store cannot be read: {}", damaged.why);
            self.show_unreadable(&damaged, why);
        }
        for stuck in stuck {
            self.show_unreadable(&stuck, stuck.why.clone());
        }
        self.retain_host_keys();
        self.end_orphans(processes).await?;
        // As of VMM processes: where the directory is there, nobody is ended.
        gateways.retain(|id, _| !self.services.paths.vm(id).path().exists());
        for gateway in gateways.into_values().flatten() {
            if let Err(error) = kill_and_wait(&gateway).await {
                tracing::warn!(causes = ?crate::causes::chain(&error), "a gateway is left");
            }
        }
        Ok(())
    }

    fn find_gateways(&self) -> Result<HashMap<VmId, Vec<ProcessHandle>>, VmError> {
        let mut gateways: HashMap<VmId, Vec<ProcessHandle>> = HashMap::new();
        for (id, process) in self.services.gateways.find(&self.services.paths.vms())? {
            gateways.entry(id).or_default().push(process);
        }
        Ok(gateways)
    }

    /// The host keys that are pinned are those of the VMs there are.
    fn retain_host_keys(&self) {
        let views = self.views();
        let vms = views.iter().map(|view| {
            let dir = self.services.paths.vm(&view.row.id);
            (view.row.id.clone(), view.row.name.clone(), dir)
        });
        if let Err(error) = self.services.ssh.retain(&vms.collect::<Vec<_>>()) {
            tracing::error!(causes = ?crate::causes::chain(&error), "host keys were not put in order");
        }
    }

    pub(super) fn strays(&self) -> Strays<'_> {
        Strays { store: &self.services.store, paths: &self.services.paths }
    }

    /// What is left of VMs that were being made or removed, known by the names of such directories.
    async fn sweep_stale(&self) {
        if let Err(error) = remove_stale(&self.services.paths.vms()).await {
            tracing::warn!(causes = ?crate::causes::chain(&error), "left for the next start");
        }
    }

    fn bring_back(&self, row: VmRow, initial: Initial) {
        Actor::spawn(self.services.clone(), self.table.clone(), row, initial);
    }

    /// What nobody can read is shown, so that it can be deleted.
    fn show_unreadable(&self, damaged: &UnreadableVm, why: String) {
        let Some(id) = VmId::parse(&damaged.id) else { return };
        let name = VmName::parse(&damaged.name).unwrap_or_else(|_| VmName::of_id(&id));
        self.bring_back(VmRow::placeholder(id, name), Initial::Broken(why));
    }

    /// Processes of VMs that nobody knows: without a directory there is nothing that could be lost with them.
    async fn end_orphans(&self, processes: HashMap<VmId, Vec<ProcessHandle>>) -> Result<(), VmError> {
        for (id, orphans) in processes {
            let known_by_its_row = self.table.get(&id).is_some();
            if known_by_its_row || self.services.paths.vm(&id).path().exists() {
                tracing::warn!(%id, "a VM process is left alone: its directory is there, and does not say what it is");
                continue;
            }
            tracing::warn!(%id, "a VM process whose directory is gone; killing it");
            for orphan in orphans {
                kill_and_wait(&orphan).await?;
            }
        }
        Ok(())
    }

    fn find_processes(&self) -> Result<HashMap<VmId, Vec<ProcessHandle>>, VmError> {
        let mut processes: HashMap<VmId, Vec<ProcessHandle>> = HashMap::new();
        for found in find_by_cwd_and_arg(&self.services.paths.vms(), MARKER_START)? {
            let Some(id) = vm_of(&found) else { continue };
            // None: it has ended since.
            if let Some(process) = ProcessHandle::open(found.identity)? {
                processes.entry(id).or_default().push(process);
            }
        }
        Ok(processes)
    }

    async fn recover_one(
        &self,
        row: VmRow,
        mut found: Vec<ProcessHandle>,
        mut gateways: Vec<ProcessHandle>,
    ) -> Result<(), VmError> {
        let row = self.strays().compare_with_record(row)?;
        let dir = self.services.paths.vm(&row.id);
        let handles = Handles::read(&dir);
        // A program that has taken the VMM over may have changed its command line, but not its directory.
        if let Some(handles) = &handles
            && found.iter().all(|process| process.identity() != handles.process)
            && let Some(process) = ProcessHandle::open(handles.process)?
            && process.works_in(dir.path())
        {
            found.push(process);
        }
        // At most one of them is the VM; a second one can only be of an attempt that was cut off.
        let known = handles
            .as_ref()
            .and_then(|handles| found.iter().position(|process| process.identity() == handles.process));
        let chosen = known.or((!found.is_empty()).then_some(0)).map(|index| found.swap_remove(index));
        for other in &found {
            kill_and_wait(other).await?;
        }
        // The connection that a leased VM lived by is gone with the daemon that held it.
        let doomed = row.phase != VmPhase::Exists || row.spec.lifetime == Lifetime::Leased;
        let stopped_for_good = chosen.is_none() && row.spec.lifetime == Lifetime::UntilStopped;
        if doomed || stopped_for_good {
            if let Some(process) = &chosen {
                kill_and_wait(process).await?;
            }
            return self.remove_rest(row).await;
        }
        let handles = handles.filter(|_| known.is_some());
        // Without a VM they are of an attempt that was cut off.
        if chosen.is_none() {
            for left in gateways.drain(..) {
                kill_and_wait(&left).await?;
            }
        }
        let vmm = self.services.vmms.named(&row.spec.vmm);
        let initial = match (chosen, handles) {
            (None, _) => match wholeness::fault(&self.services.paths, &row) {
                Some(fault) => Initial::Broken(fault.why()),
                None => {
                    clean_up(&dir)?;
                    Initial::Stopped
                }
            },
            (Some(process), Some(handles)) if handles.came_up => {
                let pid = process.identity().pid;
                tracing::info!(vm = %row.name, pid, stopping = handles.stopping_until_unix_ms, "found running");
                let gateway = adopt_gateway(&self.services, &row, &dir, &process, gateways);
                Initial::Running(Started::found(vmm?, process, dir, gateway, handles))
            }
            (Some(process), noted) => {
                let gateway = adopt_gateway(&self.services, &row, &dir, &process, gateways);
                Initial::Adopt(adopt(self.services.clone(), vmm?.clone(), process, dir, gateway, noted))
            }
        };
        self.bring_back(row, initial);
        Ok(())
    }

    async fn remove_rest(&self, row: VmRow) -> Result<(), VmError> {
        tracing::info!(vm = %row.name, phase = ?row.phase, "removing what is left of it");
        match discard(self.services.paths.vm(&row.id).path()).await {
            Ok(()) => Ok(self.services.store.delete_vm(&row.id)?),
            Err(error) => {
                // Still listed, so that it can be deleted once the cause is mended.
                tracing::error!(vm = %row.name, causes = ?crate::causes::chain(&error), "could not be removed");
                self.bring_back(row, Initial::HalfDeleted);
                Ok(())
            }
        }
    }
}

/// The VM whose directory the process runs in, if it carries that VM's mark as well.
fn vm_of(found: &FoundProcess) -> Option<VmId> {
    let id = Path::new(&found.cwd).file_name().and_then(|name| VmId::parse(name.to_str()?))?;
    let marker = marker(&id);
    found.argv.iter().any(|arg| arg.to_str() == Some(&marker)).then_some(id)
}

/// The gateway of a VM that runs, a new one where it has lost it. A VM that cannot have one is of use
/// without.
pub(super) fn adopt_gateway(
    services: &Services,
    row: &VmRow,
    dir: &VmDir,
    vmm: &ProcessHandle,
    found: Vec<ProcessHandle>,
) -> Option<Gateway> {
    if row.spec.network == Network::None {
        return None;
    }
    match services.gateways.adopt(&row.id, dir, vmm, found) {
        Ok(gateway) => gateway,
        Err(error) => {
            tracing::error!(vm = %row.name, causes = ?crate::causes::chain(&error), "it has no network");
            None
        }
    }
}

/// Completes the start of a guest that runs, but of which it is not known whether it ever came up. One that
/// did not is killed.
///
/// `noted` is what the daemon that started it wrote down before it configured the guest.
fn adopt(
    services: Arc<Services>,
    vmm: Arc<dyn Vmm>,
    process: ProcessHandle,
    dir: VmDir,
    gateway: Option<Gateway>,
    noted: Option<Handles>,
) -> ActiveJob {
    let cancel = CancellationToken::new();
    let token = cancel.clone();
    let future = Box::pin(async move {
        let adopted = tokio::select! {
            adopted = complete(&services, &vmm, process.clone(), dir.clone(), gateway, noted) => adopted,
            () = token.cancelled() => Err(VmError::Cancelled),
        };
        JobEnd::Started(match adopted {
            Ok(started) => Ok(started),
            Err(error) => end(&process, &dir, error).await,
        })
    });
    ActiveJob { cancel, future }
}

/// What is left of a start when the guest is configured.
///
/// Nothing was run in a guest whose start is noted and did not end, so it gets the user's files. Where the
/// note is lost nobody knows, and files that the user may have changed since are left alone.
async fn complete(
    services: &Services,
    vmm: &Arc<dyn Vmm>,
    process: ProcessHandle,
    dir: VmDir,
    gateway: Option<Gateway>,
    noted: Option<Handles>,
) -> Result<Started, VmError> {
    let starting = noted.is_some();
    let handles = match noted {
        Some(handles) => handles,
        // Before it is watched: a monitor speaks to one at a time.
        None => Handles::of(process.identity(), acceleration(services, &**vmm, &dir).await.into()),
    };
    let pause_watch = PauseWatch::begin(vmm, &process, &dir);
    let guest = Guest::of(dir.clone(), vmm.channel(), pause_watch.stands_still());
    let health = match tokio::time::timeout(ADOPTION_LIMIT, guest.health()).await {
        Ok(Ok((health, _))) if health.phase == Phase::Ready => health,
        _ => return Err(VmError::Cancelled),
    };
    if starting {
        let user_files = UserFiles::gather(&services.config).await?;
        user_files.hand_over(&guest, &Reporter::unwatched()).await?;
    }
    let handles = handles.up(health.init, unix_ms().saturating_sub(health.uptime_ms));
    match handles.write(&dir) {
        // As in a start: nobody has had it yet.
        Err(error) if starting => return Err(error.into()),
        Err(error) => {
            let causes = crate::causes::chain(&error);
            tracing::warn!(dir = %dir.path().display(), ?causes, "a VM that runs could not be written down");
        }
        Ok(()) => {}
    }
    Ok(Started { process, guest, pause_watch, gateway, handles, bound: Vec::new() })
}

/// What runs the guest, asked of the VMM; where it has no answer, what would run one now.
async fn acceleration(services: &Services, vmm: &dyn Vmm, dir: &VmDir) -> Acceleration {
    let asked = async { vmm.attach(dir).await?.acceleration().await };
    let why = match tokio::time::timeout(MONITOR_LIMIT, asked).await {
        Ok(Ok(acceleration)) => return acceleration,
        Ok(Err(error)) => crate::causes::on_one_line(&error),
        Err(elapsed) => elapsed.to_string(),
    };
    tracing::warn!(why, "a VMM does not say what runs its guest");
    services.accelerator.acceleration().await
}

async fn end(process: &ProcessHandle, dir: &VmDir, error: VmError) -> Result<Started, VmError> {
    kill_and_wait(process).await?;
    clean_up(dir)?;
    Err(error)
}
