use banger_api::config::Origin;
use banger_api::vm::Acceleration;

use super::{Config, Setting};

/// What a VM gets when nothing better is known.
const DISK_MIB: u64 = 8 * 1024;

/// How large the host is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostSize {
    pub cpus: u32,
    pub memory_mib: u64,
}

impl HostSize {
    pub fn of_this_host() -> Self {
        let (cpus, memory_mib) = (banger_host::system::cpu_count(), banger_host::system::total_memory_mib());
        Self { cpus, memory_mib }
    }
}

/// The size of a VM for which nobody asked for another, and who says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VmDefaults {
    pub vcpu: Setting<u32>,
    pub memory_mib: Setting<u64>,
    /// Size of the work disk.
    pub disk_mib: Setting<u64>,
}

/// The configuration's word first, then a share of the host. Emulated VMs get one vCPU: more of them only
/// wait for each other.
pub fn vm_defaults(config: &Config, host: HostSize, acceleration: Acceleration) -> VmDefaults {
    let vcpu = match acceleration {
        Acceleration::Kvm => (host.cpus / 4).clamp(1, 4),
        Acceleration::Tcg => 1,
    };
    let memory_mib = (host.memory_mib / 8).clamp(512, 8192);
    VmDefaults {
        vcpu: setting(config.vcpu, vcpu, Origin::Auto),
        memory_mib: setting(config.memory_mib, memory_mib, Origin::Auto),
        disk_mib: setting(config.disk_mib, DISK_MIB, Origin::Builtin),
    }
}

fn setting<T>(configured: Option<T>, otherwise: T, origin: Origin) -> Setting<T> {
    match configured {
        Some(value) => Setting { value, origin: Origin::Config },
        None => Setting { value: otherwise, origin },
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_share_of_the_host_within_bounds() {
        let config = Config::builtin(Path::new("/c"));
        for (cpus, memory_mib, vcpu, vm_memory_mib) in
            [(2, 1900, 1, 512), (8, 16_000, 2, 2000), (64, 256_000, 4, 8192), (1, 64, 1, 512)]
        {
            let vm = vm_defaults(&config, HostSize { cpus, memory_mib }, Acceleration::Kvm);
            assert_eq!(vm.vcpu, Setting { value: vcpu, origin: Origin::Auto });
            assert_eq!(vm.memory_mib, Setting { value: vm_memory_mib, origin: Origin::Auto });
            assert_eq!(vm.disk_mib, Setting { value: 8192, origin: Origin::Builtin });
        }
    }

    #[test]
    fn emulation_gets_one_vcpu_unless_told() {
        let host = HostSize { cpus: 64, memory_mib: 256_000 };
        let mut config = Config::builtin(Path::new("/c"));
        assert_eq!(vm_defaults(&config, host, Acceleration::Tcg).vcpu.value, 1);
        config.vcpu = Some(6);
        let vcpu = vm_defaults(&config, host, Acceleration::Tcg).vcpu;
        assert_eq!(vcpu, Setting { value: 6, origin: Origin::Config });
    }
}
