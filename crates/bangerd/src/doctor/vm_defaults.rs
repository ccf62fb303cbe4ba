use banger_api::doctor::Check;
use banger_api::vm::Acceleration;
use banger_host::kvm::KvmProbe;

use super::{Host, ok, warn};
use crate::config::{HostSize, vm_defaults};

const NAME: &str = "vm defaults";

/// How large a VM gets, who says so, and whether this host can bear it.
pub(super) fn check(host: &Host, probe: &KvmProbe) -> Check {
    let acceleration = if probe.is_usable() { Acceleration::Kvm } else { Acceleration::Tcg };
    let size = HostSize::of_this_host();
    let vm = vm_defaults(&host.config, size, acceleration);
    let seen = format!(
        "{} vcpu ({}), {} MiB memory ({}), {} MiB disk ({})",
        vm.vcpu.value,
        vm.vcpu.origin,
        vm.memory_mib.value,
        vm.memory_mib.origin,
        vm.disk_mib.value,
        vm.disk_mib.origin
    );
    let too_much = |what: &str| {
        let fix = format!("lower `{what}` in {}", host.config.path.display());
        warn(NAME, format!("{seen}; this host has {} CPUs and {} MiB", size.cpus, size.memory_mib), Some(fix))
    };
    if vm.memory_mib.value > size.memory_mib {
        too_much("vm_defaults.memory_mib")
    } else if vm.vcpu.value > size.cpus {
        too_much("vm_defaults.vcpu")
    } else {
        ok(NAME, seen)
    }
}
