//! Starting a VM: from its disks to a guest that can run commands.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use banger_api::image::ImageConfig;
use banger_api::operation::Stage;
use banger_api::vm::{Acceleration, InitChoice, NetworkMode};
use banger_guest_protocol::ByteString;
use banger_guest_protocol::messages::{
    self, Blob, CommandDefaults, Configure, Configured, DiskSelector, Disks, Network,
};
use banger_host::process::ProcessHandle;

use super::belongings::Belongings;
use super::handles::Handles;
use super::logs;
use super::registry::Services;
use super::steps::{Step, StepFuture, nothing_to_undo};
use super::stop::{clean_up, is_gone, kill_and_wait};
use super::{VmError, wholeness};
use crate::clock::unix_ms;
use crate::guest::{Guest, GuestError};
use crate::identity::fill_random;
use crate::operation::Reporter;
use crate::paths::VmDir;
use crate::store::VmRow;
use crate::vmm::{BootSpec, Monitor, Spawned, room_to_start, serial, user_network};

/// How long a guest may take to say hello. Emulated on a busy host it takes up to 10 s; where it takes longer than this it
/// has most likely hung, and is tried once more.
const HELLO_LIMIT: Duration = Duration::from_secs(30);
const SECOND_HELLO_LIMIT: Duration = Duration::from_secs(60);

/// What the steps work on.
pub(super) struct Start {
    pub(super) services: Arc<Services>,
    pub(super) reporter: Reporter,
    pub(super) row: VmRow,
    pub(super) dir: VmDir,
    boot: Option<BootSpec>,
    belongings: Option<Belongings>,
    command_defaults: CommandDefaults,
    process: Option<ProcessHandle>,
    log_keeper: Option<ProcessHandle>,
    monitor: Option<Monitor>,
    guest: Option<Guest>,
    configured: Option<Configured>,
    handles: Option<Handles>,
}

/// A VM that has come up.
pub(super) struct Started {
    pub(super) process: ProcessHandle,
    pub(super) guest: Guest,
    pub(super) monitor: Monitor,
    pub(super) handles: Handles,
}

impl Started {
    /// A VM that was up before this daemon was.
    pub(super) fn found(process: ProcessHandle, dir: VmDir, handles: Handles) -> Self {
        let monitor = Monitor::watch(&process, &dir);
        let guest = Guest::of(dir, monitor.stands_still());
        Self { process, guest, monitor, handles }
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
            boot: None,
            belongings: None,
            command_defaults: CommandDefaults::default(),
            process: None,
            log_keeper: None,
            monitor: None,
            guest: None,
            configured: None,
            handles: None,
        }
    }

    /// What all steps together have made; none before the last one.
    pub(super) fn into_started(self) -> Option<Started> {
        Some(Started {
            process: self.process?,
            guest: self.guest?,
            monitor: self.monitor?,
            handles: self.handles?,
        })
    }
}

pub(super) const STEPS: &[Step<Start>] = &[
    Step { name: "plan", run: plan, undo: nothing_to_undo },
    Step { name: "boot", run: boot, undo: power_off },
    Step { name: "configure", run: configure, undo: nothing_to_undo },
    Step { name: "hand over", run: hand_over, undo: nothing_to_undo },
    Step { name: "record", run: record, undo: forget },
];

/// Looks everything up before anything is touched.
fn plan(start: &mut Start) -> StepFuture<'_> {
    Box::pin(async {
        start.reporter.stage(Stage::Boot, "booting");
        let services = &start.services;
        room_to_start(&services.paths.vms()).await?;
        let spec = &start.row.spec;
        if let Some(fault) = wholeness::fault(&services.paths, &start.row) {
            return Err(fault);
        }
        // A VM that exists has both (its row refers to them); asking by name again would take a newer one of that name.
        let gone = || VmError::NotFound { reference: start.row.name.to_string(), similar: None };
        let image_id = start.row.image_id.as_deref().ok_or_else(gone)?;
        let kernel_id = start.row.kernel_id.as_deref().ok_or_else(gone)?;
        let image = services.store.image_by_id(image_id)?.ok_or_else(gone)?;
        let kernel = services.store.kernel_by_id(kernel_id)?.ok_or_else(gone)?;
        let (acceleration, tsc_khz) =
            (services.accelerator.acceleration().await, services.accelerator.tsc_khz().await);
        start.boot = Some(BootSpec {
            id: start.row.id.clone(),
            vcpu: spec.vcpu,
            memory_mib: spec.memory_mib,
            acceleration,
            tsc_khz,
            network: spec.network,
            vmlinux: services.kernels.vmlinux(&kernel),
            initramfs: services.kernels.initramfs(&kernel).await?,
            image: services.images.usable_file(&image)?,
            modules: services.kernels.modules_disk(&kernel),
        });
        let ImageConfig { env, working_dir, .. } = image.details.config;
        start.command_defaults = CommandDefaults {
            env: env.into_iter().map(ByteString::from).collect(),
            working_dir: working_dir.map(ByteString::from),
        };
        start.belongings = Some(Belongings::gather(&services.config).await?);
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
    let Some(boot) = &start.boot else { return Ok(()) };
    let dir = start.dir.clone();
    // Each boot has its logs to itself; a socket cannot be bound where one is.
    logs::remove(&dir)?;
    clean_up(&dir)?;
    let Spawned { process, log_keeper } = start.services.qemu.spawn(boot, &dir)?;
    let monitor = Monitor::watch(&process, &dir);
    (start.process, start.log_keeper) = (Some(process.clone()), log_keeper);
    start.monitor = Some(monitor.clone());
    tokio::select! {
        guest = Guest::greet(dir.clone(), monitor.stands_still(), limit) => match guest {
            Ok(guest) => start.guest = Some(guest),
            // The channel closes a moment before the process is seen to end, and the end is the better explanation.
            Err(_) if is_gone(&process, Duration::from_millis(500)).await => {
                return Err(ended(start).await);
            }
            Err(source) => return Err(VmError::NoHello { log: logs::tail(&dir, &[VmDir::CONSOLE_LOG]), source }),
        },
        error = cut_off(start) => return Err(error),
    }
    Ok(())
}

/// Waits until nothing can come of the start any more, and says why: its process has ended, or the guest stands still.
async fn cut_off(start: &Start) -> VmError {
    let (Some(process), Some(monitor)) = (&start.process, &start.monitor) else {
        return std::future::pending().await;
    };
    tokio::select! {
        pause = monitor.paused() => VmError::PausedWhileStarting(pause),
        _ = process.wait_exit() => ended(start).await,
    }
}

/// The error for a process that has just ended.
async fn ended(start: &Start) -> VmError {
    let status = match &start.process {
        // A status that somebody else has taken is not shown.
        Some(process) => process.wait_exit().await.ok().flatten(),
        None => None,
    };
    if let Some(log_keeper) = &start.log_keeper {
        // Its last words are on their way to the file.
        let _written = is_gone(log_keeper, Duration::from_secs(1)).await;
    }
    VmError::BootDied { status, log: logs::tail(&start.dir, &[VmDir::VMM_LOG, VmDir::CONSOLE_LOG]) }
}

fn power_off(start: &mut Start) -> StepFuture<'_> {
    Box::pin(undo_boot(start))
}

async fn undo_boot(start: &mut Start) -> Result<(), VmError> {
    start.guest = None;
    if let Some(process) = start.process.take() {
        kill_and_wait(&process).await?;
    }
    clean_up(&start.dir)
}

/// Tells the guest who it is.
fn configure(start: &mut Start) -> StepFuture<'_> {
    Box::pin(async {
        start.reporter.stage(Stage::Configure, "mounting the root");
        let Some(guest) = &start.guest else { return Ok(()) };
        let request = configuration(&start.row, start.command_defaults.clone());
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

fn configuration(row: &VmRow, command_defaults: CommandDefaults) -> Configure {
    let mut seed = [0; 64];
    fill_random(&mut seed);
    let disk = |name: &str| DiskSelector::Serial(name.into());
    Configure {
        hostname: row.name.to_string(),
        clock_unix_ns: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64,
        entropy_seed: Blob(seed.to_vec()),
        disks: Disks {
            base: disk(serial::BASE),
            cow: disk(serial::COW),
            work: Some(disk(serial::WORK)),
            modules: Some(disk(serial::MODULES)),
        },
        network: match row.spec.network {
            NetworkMode::User => Some(Network {
                address: user_network::GUEST,
                prefix_len: user_network::PREFIX_LEN,
                gateway: user_network::GATEWAY,
                dns_servers: vec![IpAddr::V4(user_network::DNS)],
                dns_search: Vec::new(),
            }),
            NetworkMode::None => None,
        },
        // Until `vm ssh` there is nobody to log in.
        authorized_key: None,
        files: Vec::new(),
        init: match row.spec.init {
            InitChoice::Auto => messages::InitChoice::Auto,
            InitChoice::Agent => messages::InitChoice::Agent,
        },
        command_defaults,
    }
}

/// Gives the guest what is the user's, before anybody can run a command in it.
fn hand_over(start: &mut Start) -> StepFuture<'_> {
    Box::pin(async {
        let belongings = start.belongings.take();
        let (Some(guest), Some(belongings)) = (&start.guest, belongings) else { return Ok(()) };
        tokio::select! {
            handed_over = belongings.hand_over(guest, &start.reporter) => handed_over,
            error = cut_off(start) => Err(error),
        }
    })
}

/// Writes down what a later daemon cannot see: from here on the VM counts as up.
fn record(start: &mut Start) -> StepFuture<'_> {
    Box::pin(async {
        let Some(process) = &start.process else { return Ok(()) };
        let handles = Handles {
            process: process.identity(),
            acceleration: start.boot.as_ref().map_or(Acceleration::Tcg, |boot| boot.acceleration),
            guest_init: start.configured.as_ref().and_then(|configured| configured.init.clone()),
            started_at_unix_ms: unix_ms(),
            stopping_until_unix_ms: None,
        };
        handles.write(&start.dir)?;
        start.handles = Some(handles);
        Ok(())
    })
}

fn forget(start: &mut Start) -> StepFuture<'_> {
    Box::pin(async { Ok(Handles::remove(&start.dir)?) })
}
