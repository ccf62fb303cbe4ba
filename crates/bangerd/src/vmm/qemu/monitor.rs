use std::path::PathBuf;

use banger_api::vm::{Acceleration, Pause};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::Value;

use super::qmp::{Drives, Kvm, Qmp, Status};
use crate::vmm::{Monitor, MonitorError, host_disk};

/// QEMU's monitor, by its machine protocol.
pub(super) struct QemuMonitor {
    pub(super) qmp: Qmp,
    /// The VM's directory.
    pub(super) dir: PathBuf,
}

impl QemuMonitor {
    async fn ask_pause_reason(&mut self) -> Result<Option<Pause>, MonitorError> {
        let Status { running, status } = self.qmp.command("query-status").await?;
        Ok(match status.as_str() {
            _ if running => None,
            "io-error" => {
                let drives: Drives = self.qmp.command("query-block").await?;
                // A quota is no lack of room to QEMU.
                let full = drives.found_no_room() || host_disk::takes_nothing(&self.dir).await;
                Some(if full { Pause::HostDiskFull } else { Pause::HostDiskError })
            }
            "internal-error" => Some(Pause::VmmFailure),
            "paused" | "debug" => Some(Pause::Monitor),
            // It has not begun yet, or is about to end.
            _ => None,
        })
    }
}

impl Monitor for QemuMonitor {
    fn pause_reason(&mut self) -> BoxFuture<'_, Result<Option<Pause>, MonitorError>> {
        self.ask_pause_reason().boxed()
    }

    fn changed(&mut self) -> BoxFuture<'_, Result<(), MonitorError>> {
        self.qmp.changed().boxed()
    }

    fn resume(&mut self) -> BoxFuture<'_, Result<(), MonitorError>> {
        async { self.qmp.command::<Value>("cont").await.map(drop) }.boxed()
    }

    fn acceleration(&mut self) -> BoxFuture<'_, Result<Acceleration, MonitorError>> {
        async {
            let Kvm { enabled } = self.qmp.command("query-kvm").await?;
            Ok(if enabled { Acceleration::Kvm } else { Acceleration::Tcg })
        }
        .boxed()
    }
}
