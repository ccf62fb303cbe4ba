//! Why a guest stands still, and when it may go on (docs/decisions/0019).

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use banger_api::vm::Pause;
use banger_host::process::ProcessHandle;
use tokio::sync::Notify;

use super::host_disk;
use super::qmp::{Drives, Qmp, QmpError, Status};
use crate::paths::VmDir;

/// How often a guest that stands still is looked at, and the room on the disk with it.
const PAUSED_INTERVAL: Duration = Duration::from_secs(2);

/// How often a write that the host's disk refused is tried again. Each attempt lets the guest run for a moment.
const RETRY_INTERVAL: Duration = Duration::from_secs(30);

/// How long a monitor that is of no use is left alone: at first, and at most.
const RECONNECT_FIRST: Duration = Duration::from_millis(200);
const RECONNECT_LAST: Duration = Duration::from_secs(30);

/// Watches one VMM until it ends, and has a guest that was stopped for want of room go on when there is some.
///
/// All it knows is asked of the VMM: a daemon that has just been started finds out the same.
#[derive(Clone, Debug)]
pub struct Monitor(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    pause: Mutex<Option<Pause>>,
    stands_still: Arc<AtomicBool>,
    changed: Notify,
}

impl Monitor {
    /// Begins to watch `process`, the VMM of the VM in `dir`.
    pub fn watch(process: &ProcessHandle, dir: &VmDir) -> Self {
        let monitor = Self(Arc::default());
        let (watching, process, dir) = (monitor.clone(), process.clone(), dir.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = watching.keep_watching(dir.path()) => {}
                _ = process.wait_exit() => {}
            }
            watching.set(None);
        });
        monitor
    }

    /// Why the guest stands still now; none while it runs.
    pub fn pause(&self) -> Option<Pause> {
        *self.0.pause.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Set while the guest stands still: its silence then means nothing.
    pub fn stands_still(&self) -> Arc<AtomicBool> {
        self.0.stands_still.clone()
    }

    /// Waits until the guest stands still.
    pub async fn paused(&self) -> Pause {
        loop {
            let changed = self.0.changed.notified();
            if let Some(pause) = self.pause() {
                return pause;
            }
            changed.await;
        }
    }

    fn set(&self, pause: Option<Pause>) -> bool {
        let mut current = self.0.pause.lock().unwrap_or_else(PoisonError::into_inner);
        let was = std::mem::replace(&mut *current, pause);
        self.0.stands_still.store(pause.is_some(), Ordering::Relaxed);
        self.0.changed.notify_waiters();
        was != pause
    }

    async fn keep_watching(&self, dir: &Path) {
        let mut wait = RECONNECT_FIRST;
        loop {
            let outcome = match Qmp::connect(dir).await {
                Ok(qmp) => {
                    wait = RECONNECT_FIRST;
                    self.attend(qmp, dir).await
                }
                Err(error) => Err(error),
            };
            match outcome {
                // The VMM of an earlier banger has no monitor.
                Err(QmpError::Connect(error)) if error.kind() == std::io::ErrorKind::NotFound => return,
                Err(error) => {
                    tracing::debug!(dir = %dir.display(), causes = ?crate::causes::chain(&error), "a VMM's monitor is of no use")
                }
                Ok(()) => {}
            }
            tokio::time::sleep(wait).await;
            wait = RECONNECT_LAST.min(2 * wait);
        }
    }

    async fn attend(&self, mut qmp: Qmp, dir: &Path) -> Result<(), QmpError> {
        let mut tried = Instant::now();
        loop {
            let pause = pause_of(&mut qmp, dir).await?;
            if self.set(pause) {
                match pause {
                    Some(pause) => tracing::warn!(dir = %dir.display(), %pause, "the VM is paused"),
                    None => tracing::info!(dir = %dir.display(), "the VM goes on"),
                }
            }
            let Some(pause) = pause else {
                qmp.changed().await?;
                continue;
            };
            let since = tried.elapsed();
            let ready = match pause {
                Pause::HostDiskFull => since >= PAUSED_INTERVAL && host_disk::may_go_on(dir).await,
                Pause::HostDiskError => since >= RETRY_INTERVAL,
                Pause::VmmFailure | Pause::Monitor => false,
            };
            if ready {
                tried = Instant::now();
                qmp.command::<serde_json::Value>("cont").await?;
            } else {
                tokio::time::sleep(PAUSED_INTERVAL).await;
            }
        }
    }
}

/// Why the guest in `dir` stands still. None while it runs, or if its VMM cannot be asked.
pub(crate) async fn look(dir: &VmDir) -> Option<Pause> {
    // See above.
    pause_of(&mut Qmp::connect(dir.path()).await.ok()?, dir.path()).await.ok()?
}

async fn pause_of(qmp: &mut Qmp, dir: &Path) -> Result<Option<Pause>, QmpError> {
    let Status { running, status } = qmp.command("query-status").await?;
    Ok(match status.as_str() {
        _ if running => None,
        "io-error" => {
            let drives: Drives = qmp.command("query-block").await?;
            // A quota is no lack of room to QEMU.
            let full = drives.found_no_room() || host_disk::takes_nothing(dir).await;
            Some(if full { Pause::HostDiskFull } else { Pause::HostDiskError })
        }
        "internal-error" => Some(Pause::VmmFailure),
        "paused" | "debug" => Some(Pause::Monitor),
        // It has not begun yet, or is about to end.
        _ => None,
    })
}

/// What brings a VM back that stands still.
pub fn pause_hint(name: &str, pause: Pause) -> String {
    match pause {
        Pause::HostDiskFull => {
            format!("free some disk space: it then goes on by itself; `banger vm kill {name}` ends it")
        }
        Pause::HostDiskError => {
            format!(
                "see what is wrong with the disk (`dmesg`): it goes on when the disk does; `banger vm kill {name}` ends it"
            )
        }
        Pause::VmmFailure => {
            format!(
                "`banger vm logs --vmm {name}` may tell more; `banger vm kill {name}`, then start it again"
            )
        }
        Pause::Monitor => format!("whoever stopped it can have it go on; `banger vm kill {name}` ends it"),
    }
}
