//! From what a client asks for to what the VM will be: flags, then configuration, then the host's size.

use banger_api::vm::{Acceleration, CreateVm, VmSpec};
use banger_gateway::policy::Policy;

use super::VmError;
use crate::config::{Config, HostSize, VmmChoice, vm_defaults};
use crate::identity::VmName;
use crate::image::WantedImage;
use crate::store::{StoredSpec, words};
use crate::vmm::{Limits, VmmKind};

/// Kernel, agent and a shell need about 100 MiB; below this nothing useful boots.
const MIN_MEMORY_MIB: u64 = 128;
/// The smallest filesystem that has room for its journal and something else.
const MIN_DISK_MIB: u64 = 64;
/// What ext4 with 4 KiB blocks can grow to.
const MAX_DISK_MIB: u64 = 16 * 1024 * 1024;

/// What the image that a VM gets is called.
pub(super) fn image<'a>(request: &'a CreateVm, config: &'a Config) -> &'a str {
    request.image.as_deref().unwrap_or(&config.default_image.value)
}

/// The VMM that runs a VM, if the configuration leaves it open: the best there is.
pub(super) fn vmm(request: &CreateVm, config: &Config) -> VmmKind {
    match (request.vmm, config.vmm.value) {
        (Some(kind), _) => kind.into(),
        (None, VmmChoice::Auto | VmmChoice::Qemu) => VmmKind::Qemu,
    }
}

/// Fills in what `request` leaves open and checks all of it. Touches nothing.
pub(super) fn resolve(
    request: &CreateVm,
    image: &WantedImage,
    config: &Config,
    host: HostSize,
    acceleration: Acceleration,
    limits: Limits,
) -> Result<(VmName, StoredSpec), VmError> {
    let name = match &request.name {
        Some(name) => VmName::parse(name).map_err(|source| VmError::Name { name: name.clone(), source })?,
        None => VmName::random(),
    };
    let defaults = vm_defaults(config, host, acceleration);
    let spec = StoredSpec {
        image: image.image().clone(),
        kernel: request
            .kernel
            .clone()
            .or_else(|| image.kernel.clone())
            .unwrap_or_else(|| config.default_kernel.value.clone()),
        vcpu: request.vcpu.unwrap_or(defaults.vcpu.value),
        memory_mib: request.memory_mib.unwrap_or(defaults.memory_mib.value),
        disk_mib: request.disk_mib.unwrap_or(defaults.disk_mib.value),
        vmm: vmm(request, config).name().into(),
        network: request.network.unwrap_or_else(|| config.network.value.mode()).into(),
        egress: Vec::new(),
        init: request.init.into(),
        lifetime: request.lifetime.into(),
        publish: request.publish.iter().copied().map(Into::into).collect(),
        auto_forward: request.auto_forward,
    };
    check_size(&spec, host, limits)?;
    let egress = egress(request, config, spec.network)?;
    Ok((name, StoredSpec { egress: egress.texts(), ..spec }))
}

/// What the VM may reach.
fn egress(request: &CreateVm, config: &Config, network: words::Network) -> Result<Policy, VmError> {
    match &request.egress {
        Some(texts) if network == words::Network::None => {
            Err(VmError::EgressWithoutNetwork { egress: texts.join(",") })
        }
        Some(texts) => Ok(Policy::from_texts(texts)?),
        None => Ok(config.egress.value.clone()),
    }
}

fn check_size(spec: &StoredSpec, host: HostSize, limits: Limits) -> Result<(), VmError> {
    let refuse = |what: String, hint: String| Err(VmError::Size { what, hint });
    let vcpus = format!("use 1 to {}", host.cpus.min(limits.vcpus_max));
    if spec.vcpu == 0 {
        return refuse("a VM needs at least one vCPU, not 0".into(), vcpus);
    }
    if spec.vcpu > host.cpus {
        return refuse(format!("{} vCPUs are more than this host has CPUs", spec.vcpu), vcpus);
    }
    if spec.vcpu > limits.vcpus_max {
        return refuse(format!("{} vCPUs are more than a microVM can have", spec.vcpu), vcpus);
    }
    if spec.memory_mib < MIN_MEMORY_MIB {
        let what = format!("{} MiB of memory are too few for a VM to boot", spec.memory_mib);
        return refuse(what, format!("use at least {MIN_MEMORY_MIB} MiB"));
    }
    if spec.memory_mib > host.memory_mib {
        let what = format!(
            "{} MiB of memory are more than this host has ({} MiB)",
            spec.memory_mib, host.memory_mib
        );
        return refuse(what, format!("use at most {} MiB", host.memory_mib));
    }
    if !(MIN_DISK_MIB..=MAX_DISK_MIB).contains(&spec.disk_mib) {
        let what = format!("a disk of {} MiB cannot be made", spec.disk_mib);
        return refuse(what, format!("use {MIN_DISK_MIB} MiB to {} TiB", MAX_DISK_MIB / 1024 / 1024));
    }
    Ok(())
}

/// The spec in the API's words.
pub(super) fn planned(name: &VmName, spec: &StoredSpec) -> VmSpec {
    VmSpec {
        name: name.to_string(),
        image: spec.image.to_string(),
        kernel: spec.kernel.clone(),
        vcpu: spec.vcpu,
        memory_mib: spec.memory_mib,
        disk_mib: spec.disk_mib,
        vmm: VmmKind::stored_to_api(&spec.vmm),
        network: spec.network.into(),
        egress: spec.egress.clone(),
        init: spec.init.into(),
        publish: spec.publish.iter().copied().map(Into::into).collect(),
        auto_forward: spec.auto_forward,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const HOST: HostSize = HostSize { cpus: 8, memory_mib: 16 * 1024 };
    const LIMITS: Limits = Limits { vcpus_max: 32 };

    fn image(kernel: Option<&str>) -> WantedImage {
        WantedImage::here("debian-trixie", kernel)
    }

    fn resolved(request: &CreateVm, acceleration: Acceleration) -> Result<StoredSpec, VmError> {
        resolve(request, &image(None), &Config::builtin(Path::new("/none")), HOST, acceleration, LIMITS)
            .map(|(_, spec)| spec)
    }

    #[test]
    fn the_host_decides_what_nobody_asked_for() {
        let spec = resolved(&CreateVm::default(), Acceleration::Kvm).unwrap();
        assert_eq!((spec.vcpu, spec.memory_mib, spec.disk_mib), (2, 2048, 8192));
        assert_eq!(resolved(&CreateVm::default(), Acceleration::Tcg).unwrap().vcpu, 1);
    }

    #[test]
    fn a_large_host_does_not_make_a_large_microvm() {
        let host = HostSize { cpus: 128, ..HOST };
        let request = CreateVm { vcpu: Some(64), ..CreateVm::default() };
        let refused = resolve(
            &request,
            &image(None),
            &Config::builtin(Path::new("/none")),
            host,
            Acceleration::Kvm,
            LIMITS,
        );
        let refused = refused.unwrap_err();
        assert_eq!(refused.to_string(), "64 vCPUs are more than a microVM can have");
        assert!(matches!(refused, VmError::Size { hint, .. } if hint == "use 1 to 32"));
    }

    #[test]
    fn what_was_asked_for_wins() {
        let request = CreateVm { vcpu: Some(8), memory_mib: Some(512), ..CreateVm::default() };
        let spec = resolved(&request, Acceleration::Tcg).unwrap();
        assert_eq!((spec.vcpu, spec.memory_mib), (8, 512));
    }

    #[test]
    fn the_kernel_is_the_users_then_the_images_then_the_default() {
        let kernel = |asked: Option<&str>, images: Option<&str>| {
            let request = CreateVm { kernel: asked.map(Into::into), ..CreateVm::default() };
            let config = Config::builtin(Path::new("/none"));
            let resolved = resolve(&request, &image(images), &config, HOST, Acceleration::Tcg, LIMITS);
            resolved.unwrap().1.kernel
        };
        assert_eq!(kernel(Some("a"), Some("b")), "a");
        assert_eq!(kernel(None, Some("b")), "b");
        assert_eq!(kernel(None, None), crate::catalog::DEFAULT_KERNEL);
    }

    #[test]
    fn impossible_sizes_are_refused() {
        let with =
            |vcpu, memory_mib, disk_mib| CreateVm { vcpu, memory_mib, disk_mib, ..CreateVm::default() };
        for bad in [
            with(Some(0), None, None),
            with(Some(9), None, None),
            with(None, Some(0), None),
            with(None, Some(16 * 1024 + 1), None),
            with(None, Some(u64::MAX), None),
            with(None, None, Some(0)),
            with(None, None, Some(MIN_DISK_MIB - 1)),
            with(None, None, Some(u64::MAX)),
        ] {
            assert!(matches!(resolved(&bad, Acceleration::Kvm), Err(VmError::Size { .. })), "{bad:?}");
        }
    }

    #[test]
    fn a_bad_name_is_refused() {
        let request = CreateVm { name: Some("Bad Name".into()), ..CreateVm::default() };
        assert!(matches!(resolved(&request, Acceleration::Kvm), Err(VmError::Name { .. })));
    }
}
