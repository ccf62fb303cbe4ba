//! Why a guest stands still, and when it may go on (docs/decisions/0019).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use banger_api::vm::Pause;
use banger_host::process::ProcessHandle;
use tokio::sync::Notify;

use super::{Monitor, MonitorError, Vmm, host_disk};
use crate::paths::VmDir;

/// How often a guest that stands still is looked at, and the room on the disk with it.
const PAUSED_INTERVAL: Duration = Duration::from_secs(2);

/// How often a write that the host's disk refused is tried again. Each attempt lets the guest run for a
/// moment.
const RETRY_INTERVAL: Duration = Duration::from_secs(30);

/// How long a monitor that is of no use is left alone: at first, and at most.
const RECONNECT_FIRST: Duration = Duration::from_millis(200);
const RECONNECT_LAST: Duration = Duration::from_secs(30);

/// Watches one VMM until it ends, and has a guest that was stopped for want of room go on when there is some.
///
/// All it knows is asked of the VMM: a daemon that has just been started finds out the same.
#[derive(Clone, Debug)]
pub struct PauseWatch(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    pause: Mutex<Option<Pause>>,
    stands_still: Arc<AtomicBool>,
    changed: Notify,
}

impl PauseWatch {
    /// Begins to watch `process`, which runs the VM in `dir` by means of `vmm`.
    pub fn begin(vmm: &Arc<dyn Vmm>, process: &ProcessHandle, dir: &VmDir) -> Self {
        let watch = Self(Arc::default());
        let (watching, vmm, process, dir) = (watch.clone(), vmm.clone(), process.clone(), dir.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = watching.keep_watching(&*vmm, &dir) => {}
                _ = process.wait_exit() => {}
            }
            watching.set(None);
        });
        watch
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

    async fn keep_watching(&self, vmm: &dyn Vmm, dir: &VmDir) {
        let mut wait = RECONNECT_FIRST;
        loop {
            let outcome = match vmm.attach(dir).await {
                Ok(mut monitor) => {
                    wait = RECONNECT_FIRST;
                    self.attend(&mut *monitor, dir).await
                }
                Err(error) => Err(error),
            };
            match outcome {
                Err(MonitorError::None) => return,
                Err(error) => {
                    let dir = dir.path().display();
                    tracing::debug!(%dir, causes = ?crate::causes::chain(&error), "a VMM's monitor is of no use")
                }
                Ok(()) => {}
            }
            tokio::time::sleep(wait).await;
            wait = RECONNECT_LAST.min(2 * wait);
        }
    }

    async fn attend(&self, monitor: &mut dyn Monitor, dir: &VmDir) -> Result<(), MonitorError> {
        let mut tried = Instant::now();
        loop {
            let pause = monitor.pause_reason().await?;
            if self.set(pause) {
                let dir = dir.path().display();
                match pause {
                    Some(pause) => tracing::warn!(%dir, %pause, "the VM is paused"),
                    None => tracing::info!(%dir, "the VM goes on"),
                }
            }
            let Some(pause) = pause else {
                monitor.changed().await?;
                continue;
            };
            let since = tried.elapsed();
            let ready = match pause {
                Pause::HostDiskFull => since >= PAUSED_INTERVAL && host_disk::may_go_on(dir.path()).await,
                Pause::HostDiskError => since >= RETRY_INTERVAL,
                Pause::VmmFailure | Pause::Monitor => false,
            };
            if ready {
                tried = Instant::now();
                monitor.resume().await?;
            } else {
                tokio::time::sleep(PAUSED_INTERVAL).await;
            }
        }
    }
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
