use std::path::PathBuf;
use std::time::Duration;

use banger_api::vm::Acceleration;
use banger_host::kvm::{KvmProbe, probe_in_child};
use tokio::sync::OnceCell;

/// The probe executes a few hundred instructions; where that takes longer, something hangs.
const PROBE_LIMIT: Duration = Duration::from_secs(2);

/// What this host can run guests with. Found out once per daemon, when first asked.
pub struct Accelerator {
    /// This program, which can run the probe in a process of its own.
    program: PathBuf,
    found: OnceCell<(KvmProbe, Option<u64>)>,
}

impl Accelerator {
    pub fn new(program: PathBuf) -> Self {
        Self { program, found: OnceCell::new() }
    }

    pub async fn acceleration(&self) -> Acceleration {
        if self.found().await.0.is_usable() { Acceleration::Kvm } else { Acceleration::Tcg }
    }

    /// Why guests are emulated; none where they are not.
    pub async fn notice(&self) -> Option<String> {
        let (probe, _) = self.found().await;
        (!probe.is_usable()).then(|| format!("emulating the CPU (slow): {}", probe.reason()))
    }

    /// The host's time stamp counter in kHz, when it is constant.
    pub async fn tsc_khz(&self) -> Option<u64> {
        self.found().await.1
    }

    async fn found(&self) -> &(KvmProbe, Option<u64>) {
        self.found
            .get_or_init(|| async {
                let tsc = tokio::task::spawn_blocking(banger_host::tsc::host_tsc_khz);
                let (probe, tsc) =
                    tokio::join!(probe_in_child(&self.program, &["probe-kvm"], PROBE_LIMIT), tsc);
                let tsc = tsc.ok().flatten();
                tracing::info!(?probe, tsc_khz = tsc, "looked at the host's CPU");
                (probe, tsc)
            })
            .await
    }
}
