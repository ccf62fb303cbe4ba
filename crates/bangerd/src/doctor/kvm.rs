use std::path::Path;
use std::time::Duration;

use banger_api::doctor::Check;
use banger_host::kvm::{KvmProbe, probe_in_child};

use super::{ok, warn};

const NAME: &str = "kvm";

/// The probe executes a few hundred instructions; where that takes longer, something hangs.
const LIMIT: Duration = Duration::from_secs(2);

/// Runs the probe in a process of its own.
pub(super) async fn probe(program: &Path) -> KvmProbe {
    probe_in_child(program, &["probe-kvm"], LIMIT).await
}

/// Can guests run on the CPU itself?
pub(super) fn check(probe: &KvmProbe) -> Check {
    if probe.is_usable() {
        return ok(NAME, probe.reason());
    }
    warn(
        NAME,
        format!("{}; VMs work, but are emulated: an order of magnitude slower", probe.reason()),
        probe.fix(),
    )
}
