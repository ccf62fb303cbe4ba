//! Starting a VM: from its disks to a guest that can run commands.

use std::sync::Arc;
use std::time::{Duration, Instant};

use banger_api::operation::Stage;
use banger_guest_protocol::ByteString;
use banger_guest_protocol::messages::{CommandDefaults, Configure, Configured};
use banger_host::process::ProcessHandle;

use super::configuration::{assembly, identity, selectors};
use super::egress::gateway_config;
use super::forward::Bound;
use super::handles::Handles;
use super::logs;
use super::registry::Services;
use super::steps::{Step, StepFuture, nothing_to_undo};
use super::stop::{clean_up, is_gone, kill_and_wait};
use super::user_files::UserFiles;
use super::{VmError, wholeness};
use crate::clock::unix_ms;
use crate::guest::{Guest, GuestError};
use crate::network::Gateway;
use crate::operation::Reporter;
use crate::paths::VmDir;
use crate::ssh::GuestKeys;
use crate::store::VmRow;
use crate::store::words::{self, RunConfig};
use crate::vmm::{Launched, Machine, PauseWatch, Shared, Vmm, room_to_start};

/// How long a guest may take to say hello. Emulated on a busy host it takes up to 10 s; where it takes longer
/// than this it has most likely hung, and is tried once more.
const HELLO_LIMIT: Duration = Duration::from_secs(30);
const SECOND_HELLO_LIMIT: Duration = Duration::from_secs(60);

/// How long the listeners of a run that has ended may take to go.
const FREED_LIMIT: Duration = Duration::from_secs(1);

/// What the steps work on.
pub(super) struct Start {
    pub(super) services: Arc<Services>,
    pub(super) reporter: Reporter,
    pub(super) row: VmRow,
    pub(super) dir: VmDir,
    vmm: Option<Arc<dyn Vmm>>,
    machine: Option<Machine>,
    shared: Option<Shared>,
    user_files: Option<UserFiles>,
    guest_keys: Option<GuestKeys>,
    command_defaults: CommandDefaults,
    launched: Option<Launched>,
    pause_watch: Option<PauseWatch>,
    gateway: Option<Gateway>,
    guest: Option<Guest>,
    configured: Option<Configured>,
    handles: Option<Handles>,
    bound: Vec<Bound>,
}

/// A VM that has come up.
pub(super) struct Started {
    pub(super) process: ProcessHandle,
    pub(super) guest: Guest,
    pub(super) pause_watch: PauseWatch,
    pub(super) gateway: Option<Gateway>,
    pub(super) handles: Handles,
    /// Its published ports; none of one that was up already.
    pub(super) bound: Vec<Bound>,
}

impl Started {
    /// A VM that was up before this daemon was.
    pub(super) fn found(
        vmm: &Arc<dyn Vmm>,
        process: ProcessHandle,
        dir: VmDir,
        gateway: Option<Gateway>,
        handles: Handles,
    ) -> Self {
        let pause_watch = PauseWatch::begin(vmm, &process, &dir);
        let guest = Guest::of(dir, vmm.channel(), pause_watch.stands_still());
        Self { process, guest, pause_watch, gateway, handles, bound: Vec::new() }
    }
}

impl Start {
    pub(super) fn new(services: Arc<Services>, reporter: Reporter, row: VmRow) -> Self {
        let dir = services.paths.vm(&row.id);
        Self {
            services,
            reporter,
            row,
            dir,
            vmm: None,
            machine: None,
            shared: None,
            user_files: None,
            guest_keys: None,
            command_defaults: CommandDefaults::default(),
            launched: None,
            pause_watch: None,
            gateway: None,
            guest: None,
            configured: None,
            handles: None,
            bound: Vec::new(),
        }
    }

    /// What all steps together have made.
    ///
    /// # Errors
    ///
    /// When they were not all run.
    pub(super) fn into_started(self) -> Result<Started, VmError> {
        Ok(Started {
            process: made(self.launched, "the VMM's process")?.process,
            guest: made(self.guest, "the session with the guest")?,
            pause_watch: made(self.pause_watch, "the watch over the VMM")?,
            gateway: self.gateway,
            handles: made(self.handles, "the VM's handles")?,
            bound: self.bound,
        })
    }
}

/// What an earlier step has made.
pub(super) fn made<T>(part: Option<T>, what: &'static str) -> Result<T, VmError> {
    part.ok_or(VmError::Unmade(what))
}

pub(super) const STEPS: &[Step<Start>] = &[
    Step { name: "plan", run: plan, undo: nothing_to_undo },
    Step { name: "publish", run: publish, undo: free_ports },
    Step { name: "boot", run: boot, undo: power_off },
    Step { name: "network", run: connect, undo: disconnect },
    Step { name: "configure", run: configure, undo: nothing_to_undo },
    Step { name: "hand over", run: hand_over, undo: nothing_to_undo },
    Step { name: "record", run: record, undo: forget },
];

/// Looks everything up before anything is touched.
fn plan(start: &mut Start) -> StepFuture<'_> {
    Box::pin(async {
        let services = &start.services;
        if let Some(why) = services.accelerator.notice().await {
            start.reporter.notice(why);
        }
        start.reporter.stage(Stage::Boot, "booting");
        room_to_start(&services.paths.vms()).await?;
        let spec = &start.row.spec;
        if let Some(fault) = wholeness::fault(&services.paths, &start.row) {
            return Err(fault);
        }
        // A VM that exists has both (its row refers to them); asking by name again would take a newer one of
        // that name.
        let gone = || VmError::NotFound { reference: start.row.name.to_string(), similar: None };
        let image_id = start.row.image_id.as_deref().ok_or_else(gone)?;
        let kernel_id = start.row.kernel_id.as_deref().ok_or_else(gone)?;
        let image = services.store.image_by_id(image_id)?.ok_or_else(gone)?;
        let kernel = services.store.kernel_by_id(kernel_id)?.ok_or_else(gone)?;
        start.vmm = Some(services.vmms.named(&spec.vmm)?.clone());
        start.machine = Some(Machine {
            id: start.row.id.clone(),
            vcpu: spec.vcpu,
            memory_mib: spec.memory_mib,
            acceleration: services.accelerator.acceleration().await,
            tsc_khz: services.accelerator.tsc_khz().await,
            kernel: Machine::KERNEL,
            disks: Machine::DISKS.into(),
            has_gateway: spec.network == words::Network::User,
        });
        start.shared = Some(Shared {
            vmlinux: services.kernels.vmlinux(&kernel),
            initramfs: services.kernels.initramfs(&kernel).await?,
            image: services.images.usable_file(&image)?,
            modules: services.kernels.modules_disk(&kernel),
        });
        let RunConfig { env, working_dir, .. } = image.details.config;
        start.command_defaults = CommandDefaults {
            env: env.into_iter().map(ByteString::from).collect(),
            working_dir: working_dir.map(ByteString::from),
        };
        start.user_files = Some(UserFiles::gather(&services.config).await?);
        start.guest_keys = guest_keys(start);
        Ok(())
    })
}

/// Without them the VM is of use all the same.
fn guest_keys(start: &Start) -> Option<GuestKeys> {
    let keys = start.services.ssh.guest_keys(&start.row.id, &start.row.name, &start.dir);
    keys.inspect_err(|error| {
        let why = crate::causes::on_one_line(error);
        start.reporter.notice(format!("`vm ssh` will not work until the next start: {why}"));
    })
    .ok()
}

/// Listens on the ports that shall lead to the guest: whoever has one of them is in the way before it boots,
/// and whoever connects meanwhile waits for it.
fn publish(start: &mut Start) -> StepFuture<'_> {
    Box::pin(async {
        let (name, ports) = (start.row.name.as_str(), &start.services.host_ports);
        let deadline = Instant::now() + FREED_LIMIT;
        loop {
            match ports.bind_all(name, &start.row.spec.publish) {
                Ok(bound) => start.bound = bound,
                // Its own, of the run that has just ended.
                Err((error, _)) if error.is_held_by(name) && Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
                Err(error) => return Err(VmError::forward(error)),
            }
            return Ok(());
        }
    })
}

fn free_ports(start: &mut Start) -> StepFuture<'_> {
    Box::pin(async {
        start.bound = Vec::new();
        Ok(())
    })
}

/// Starts the VMM and waits for the agent's hello; a boot that hangs is tried once more.
fn boot(start: &mut Start) -> StepFuture<'_> {
    Box::pin(async {
        for (limit, last) in [(HELLO_LIMIT, false), (SECOND_HELLO_LIMIT, true)] {
            let error = match boot_once(start, limit).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let hung = matches!(error, VmError::NoHello { source: GuestError::NoHello { .. }, .. });
            if last || !hung {
                return Err(error);
            }
            tracing::warn!(vm = %start.row.name, causes = ?crate::causes::chain(&error), "the boot hung; trying again");
            start.reporter.notice("the guest gave no sign of life; booting it once more");
            undo_boot(start).await?;
        }
        Ok(())
    })
}

async fn boot_once(start: &mut Start, limit: Duration) -> Result<(), VmError> {
    let vmm = made(start.vmm.clone(), "the choice of a VMM")?;
    let machine = made(start.machine.as_ref(), "the plan of the machine")?;
    let shared = made(start.shared.as_ref(), "the plan of the machine's files")?;
    let dir = start.dir.clone();
    // Each boot has its logs to itself; a socket cannot be bound where one is.
    logs::remove(&dir)?;
    clean_up(&dir)?;
    shared.link(&dir)?;
    let acceleration = machine.acceleration;
    let launched = vmm.launch(machine, &dir).await?;
    let process = start.launched.insert(launched).process.clone();
    let handles = Handles::of(process.identity(), acceleration.into());
    handles.write(&dir)?;
    start.handles = Some(handles);
    let watch = start.pause_watch.insert(PauseWatch::begin(&vmm, &process, &dir)).clone();
    tokio::select! {
        guest = Guest::greet(dir.clone(), vmm.channel(), watch.stands_still(), limit) => match guest {
            Ok(guest) => start.guest = Some(guest),
            // The channel closes a moment before the process is seen to end, and the end is the better
            // explanation.
            Err(_) if is_gone(&process, Duration::from_millis(500)).await => {
                return Err(ended(start).await);
            }
            Err(source) => return Err(VmError::NoHello { log: logs::tail(&dir, &[VmDir::CONSOLE_LOG]), source }),
        },
        error = cut_off(start) => return Err(error),
    }
    Ok(())
}

/// Waits until nothing can come of the start any more, and says why: its process has ended, or the guest
/// stands still.
async fn cut_off(start: &Start) -> VmError {
    let (Some(Launched { process, .. }), Some(watch)) = (&start.launched, &start.pause_watch) else {
        return VmError::Unmade("the VMM's process");
    };
    tokio::select! {
        pause = watch.paused() => VmError::PausedWhileStarting(pause),
        _ = process.wait_exit() => ended(start).await,
    }
}

/// The error for a process that has just ended.
async fn ended(start: &Start) -> VmError {
    let Some(Launched { process, log_keeper, .. }) = &start.launched else {
        return VmError::Unmade("the VMM's process");
    };
    // A status that somebody else has taken is not shown.
    let status = process.wait_exit().await.ok().flatten();
    if let Some(log_keeper) = log_keeper {
        // Its last words are on their way to the file.
        let _written = is_gone(log_keeper, Duration::from_secs(1)).await;
    }
    VmError::BootDied { status, log: logs::tail(&start.dir, &[VmDir::VMM_LOG, VmDir::CONSOLE_LOG]) }
}

fn power_off(start: &mut Start) -> StepFuture<'_> {
    Box::pin(undo_boot(start))
}

async fn undo_boot(start: &mut Start) -> Result<(), VmError> {
    (start.guest, start.pause_watch, start.handles) = (None, None, None);
    if let Some(Launched { process, .. }) = &start.launched {
        kill_and_wait(process).await?;
    }
    // Only now: what cannot be killed keeps its handles.
    start.launched = None;
    clean_up(&start.dir)
}

/// Gives the guest's network its end on the host, before the guest has one.
fn connect(start: &mut Start) -> StepFuture<'_> {
    Box::pin(async {
        let vmm = &made(start.launched.as_ref(), "the VMM's process")?.process;
        if start.row.spec.network == words::Network::None {
            return Ok(());
        }
        let config = gateway_config(&start.row, &start.services, start.reporter.environment())?;
        start.gateway = Some(start.services.gateways.start(&start.row.id, &start.dir, vmm, &config)?);
        Ok(())
    })
}

fn disconnect(start: &mut Start) -> StepFuture<'_> {
    Box::pin(async {
        match start.gateway.take() {
            Some(gateway) => Ok(gateway.end().await?),
            None => Ok(()),
        }
    })
}

/// Tells the guest who it is.
fn configure(start: &mut Start) -> StepFuture<'_> {
    Box::pin(async {
        start.reporter.stage(Stage::Configure, "mounting the root");
        let guest = made(start.guest.as_ref(), "the session with the guest")?;
        let disks = selectors(&made(start.launched.as_ref(), "the VMM's process")?.disks)?;
        let assembly = assembly(&start.row, disks, start.command_defaults.clone());
        let request = Configure { assembly, identity: identity(&start.row, start.guest_keys.as_ref()) };
        let configured = tokio::select! {
            configured = guest.configure(&request) => configured.map_err(VmError::Configure)?,
            error = cut_off(start) => return Err(error),
        };
        tracing::info!(vm = %start.row.name, ?configured, "configured");
        for warning in &configured.warnings {
            start.reporter.notice(format!("the guest says: {warning}"));
        }
        start.configured = Some(configured);
        Ok(())
    })
}

/// Gives the guest what is the user's, before anybody can run a command in it.
fn hand_over(start: &mut Start) -> StepFuture<'_> {
    Box::pin(async {
        let user_files = made(start.user_files.take(), "the list of the user's files")?;
        let guest = made(start.guest.as_ref(), "the session with the guest")?;
        tokio::select! {
            handed_over = user_files.hand_over(guest, &start.reporter) => handed_over,
            error = cut_off(start) => Err(error),
        }
    })
}

/// Writes down what a later daemon cannot see: from here on the VM counts as up.
fn record(start: &mut Start) -> StepFuture<'_> {
    Box::pin(async {
        let configured = made(start.configured.as_ref(), "the guest's configuration")?;
        let handles = made(start.handles.take(), "the VM's handles")?;
        let handles = handles.up(configured.init.clone(), unix_ms());
        handles.write(&start.dir)?;
        start.handles = Some(handles);
        Ok(())
    })
}

fn forget(start: &mut Start) -> StepFuture<'_> {
    Box::pin(async { Ok(Handles::remove(&start.dir)?) })
}
