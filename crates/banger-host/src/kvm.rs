//! Is KVM truly usable?
//!
//! A `/dev/kvm` that opens proves little: nested and partial implementations exist that create VMs and then
//! cannot run ordinary 64-bit code. So the probe runs some. It may hang there, hence [`probe_in_child`].

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::command::Command;

const DEVICE: &str = "/dev/kvm";

const CPU_INFO: &str = "/proc/cpuinfo";

/// The only version of the KVM API there ever was.
const API_VERSION: i32 = 12;

/// What the probe found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum KvmProbe {
    /// Guest instructions ran and did what they should.
    Usable,
    /// There is no `/dev/kvm`.
    Missing,
    /// It is there, but not for us.
    NoPermission {
        /// The name (or number) of the group that may open it, if there is one.
        group: Option<String>,
    },
    /// It opens, but does not work.
    Failed {
        /// What did not work: "create a VM".
        step: String,
        detail: String,
    },
    /// It did not come back.
    Hung { limit_ms: u64 },
}

impl KvmProbe {
    pub fn is_usable(&self) -> bool {
        *self == Self::Usable
    }

    /// One sentence part for people: "/dev/kvm does not exist".
    pub fn reason(&self) -> String {
        match self {
            Self::Usable => "KVM runs guest code".to_owned(),
            Self::Missing => format!("{DEVICE} does not exist"),
            Self::NoPermission { group: Some(group) } => format!("{DEVICE} is open to group {group} only"),
            Self::NoPermission { group: None } => format!("no permission to open {DEVICE}"),
            Self::Failed { step, detail } => format!("{DEVICE} is there, but cannot {step}: {detail}"),
            Self::Hung { limit_ms } => {
                format!("{DEVICE} is there, but a guest of ten instructions hung for {limit_ms} ms")
            }
        }
    }

    /// What to do about it, when there is something to do.
    pub fn fix(&self) -> Option<String> {
        match self {
            Self::Usable | Self::Failed { .. } | Self::Hung { .. } => None,
            // Without it the CPU is taken for one of Intel's.
            Self::Missing => Some(fix_of_missing(&std::fs::read_to_string(CPU_INFO).unwrap_or_default())),
            Self::NoPermission { group: Some(group) } => {
                Some(format!("sudo usermod -aG {group} $USER, then log in again"))
            }
            Self::NoPermission { group: None } => {
                Some(format!("sudo chgrp kvm {DEVICE} && sudo chmod 660 {DEVICE}, and join the group kvm"))
            }
        }
    }
}

/// What brings `/dev/kvm` on a host with such a `/proc/cpuinfo`.
fn fix_of_missing(cpu_info: &str) -> String {
    let words = |key: &str| {
        let line =
            cpu_info.lines().find(|line| line.split(':').next().is_some_and(|name| name.trim() == key));
        line.and_then(|line| line.split_once(':'))
            .map(|(_, value)| value.split_whitespace().collect::<Vec<_>>())
    };
    let flags = words("flags").unwrap_or_default();
    let (intel, amd) = (flags.contains(&"vmx"), flags.contains(&"svm"));
    let vendor = words("vendor_id").unwrap_or_default().join(" ");
    let module = match vendor.as_str() {
        _ if intel => "kvm_intel",
        _ if amd => "kvm_amd",
        "AuthenticAMD" | "HygonGenuine" => "kvm_amd",
        _ => "kvm_intel",
    };
    if intel || amd {
        format!("sudo modprobe {module}")
    } else if flags.contains(&"hypervisor") {
        "this host is a VM itself: have nested virtualisation enabled where it runs".into()
    } else {
        let name = if module == "kvm_amd" { "AMD-V (SVM)" } else { "Intel VT-x (VMX)" };
        format!("enable {name} in the firmware, then `sudo modprobe {module}`")
    }
}

/// Runs `program args`, which prints [`run_probe_here`]'s result as JSON, with a time limit.
pub async fn probe_in_child(program: &Path, args: &[&str], limit: Duration) -> KvmProbe {
    let failed = |detail: String| KvmProbe::Failed { step: "be probed".into(), detail };
    match tokio::time::timeout(limit, Command::new(program).args(args).run()).await {
        Err(_) => KvmProbe::Hung { limit_ms: limit.as_millis() as u64 },
        Ok(Err(error)) => failed(error.to_string()),
        Ok(Ok(output)) => {
            serde_json::from_slice(&output.stdout).unwrap_or_else(|error| failed(error.to_string()))
        }
    }
}

/// Probes in this process. It may never return; see [`probe_in_child`].
pub fn run_probe_here() -> KvmProbe {
    use std::fs::OpenOptions;
    use std::io::ErrorKind;

    match OpenOptions::new().read(true).write(true).open(DEVICE) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return KvmProbe::Missing,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            return KvmProbe::NoPermission { group: device_group() };
        }
        Err(error) => return KvmProbe::Failed { step: "be opened".into(), detail: error.to_string() },
    }
    #[cfg(target_arch = "x86_64")]
    let result = guest::run();
    #[cfg(not(target_arch = "x86_64"))]
    let result = Err(("run a guest", "this CPU architecture is not supported".to_owned()));
    match result {
        Ok(()) => KvmProbe::Usable,
        Err((step, detail)) => KvmProbe::Failed { step: step.to_owned(), detail },
    }
}

/// The group that may open the device.
fn device_group() -> Option<String> {
    // No device, no group.
    let meta = std::fs::metadata(DEVICE).ok()?;
    // Membership in root's group is nothing to recommend.
    if meta.mode() & 0o060 != 0o060 || meta.gid() == 0 {
        return None;
    }
    let gid = meta.gid().to_string();
    // A group without a name is none to recommend.
    let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let name = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == gid).then(|| name.to_owned())
    });
    Some(name.unwrap_or(gid))
}

#[cfg(target_arch = "x86_64")]
mod guest {
    use kvm_bindings::{KVM_MAX_CPUID_ENTRIES, kvm_regs, kvm_segment, kvm_userspace_memory_region};
    use kvm_ioctls::{Kvm, VcpuExit, VcpuFd, VmFd};
    use rustix::mm::{MapFlags, ProtFlags};

    type Failure = (&'static str, String);

    const MEMORY_LEN: usize = 0x1_0000;
    const PAGE_TABLES: [usize; 3] = [0x1000, 0x2000, 0x3000];
    const RESULT: usize = 0x7000;
    const CODE: usize = 0x8000;
    const MAGIC: u16 = 0x6f6b;

    /// `lock cmpxchg16b` changes the (zero) 16 bytes at RESULT to MAGIC, then halts.
    const PROGRAM: &[u8] = &[
        0x48, 0xC7, 0xC7, 0x00, 0x70, 0x00, 0x00, // mov rdi, RESULT
        0x31, 0xC0, 0x31, 0xD2, 0x31, 0xC9, // xor eax, eax; xor edx, edx; xor ecx, ecx
        0xBB, 0x6B, 0x6F, 0x00, 0x00, // mov ebx, MAGIC
        0xF0, 0x48, 0x0F, 0xC7, 0x0F, // lock cmpxchg16b [rdi]
        0xF4, // hlt
    ];

    /// Where in the program an instruction pointer points.
    fn place(rip: u64) -> &'static str {
        const CMPXCHG16B: u64 = CODE as u64 + 18;
        const HLT: u64 = CODE as u64 + 23;
        match rip {
            CMPXCHG16B => "cmpxchg16b",
            HLT => "hlt",
            0x8000..CMPXCHG16B => "its first instructions",
            _ => "an unknown place",
        }
    }

    pub(super) fn run() -> Result<(), Failure> {
        let at = |step| move |error: kvm_ioctls::Error| (step, describe(error));
        let kvm = Kvm::new().map_err(at("be opened"))?;
        let version = kvm.get_api_version();
        if version != super::API_VERSION {
            return Err(("be used", format!("its API version is {version}, not {}", super::API_VERSION)));
        }
        let vm = kvm.create_vm().map_err(at("create a VM"))?;
        let mut memory = Memory::new()?;
        memory.fill();
        memory.attach(&vm).map_err(at("give memory to a VM"))?;
        let mut vcpu = vm.create_vcpu(0).map_err(at("create a virtual CPU"))?;
        let cpuid = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).map_err(at("tell what its CPU can do"))?;
        vcpu.set_cpuid2(&cpuid).map_err(at("set up a virtual CPU"))?;
        set_registers(&vcpu).map_err(at("set up a 64-bit virtual CPU"))?;
        let exit = match vcpu.run().map_err(at("run guest code"))? {
            VcpuExit::Hlt => None,
            other => Some(format!("{other:?}")),
        };
        if let Some(exit) = exit {
            let place = vcpu.get_regs().map_or("an unknown place", |regs| place(regs.rip));
            return Err(("run 64-bit guest code", format!("the guest stopped at {place} with {exit}")));
        }
        match memory.result() {
            MAGIC => Ok(()),
            other => {
                Err(("run 64-bit guest code", format!("cmpxchg16b left {other:#x} instead of {MAGIC:#x}")))
            }
        }
    }

    fn describe(error: kvm_ioctls::Error) -> String {
        std::io::Error::from_raw_os_error(error.errno()).to_string()
    }

    /// Long mode, flat segments, paging by one identity-mapped 2 MiB page.
    fn set_registers(vcpu: &VcpuFd) -> Result<(), kvm_ioctls::Error> {
        let mut sregs = vcpu.get_sregs()?;
        let data = kvm_segment {
            limit: 0xFFFF_FFFF,
            selector: 16,
            type_: 3,
            present: 1,
            db: 1,
            s: 1,
            g: 1,
            ..Default::default()
        };
        sregs.cs = kvm_segment { selector: 8, type_: 11, db: 0, l: 1, ..data };
        (sregs.ds, sregs.es, sregs.ss) = (data, data, data);
        sregs.cr3 = PAGE_TABLES[0] as u64;
        sregs.cr4 = 1 << 5; // PAE
        sregs.cr0 = 1 << 31 | 1 << 5 | 1 << 4 | 1; // PG, NE, ET, PE
        sregs.efer = 1 << 10 | 1 << 8; // LMA, LME
        vcpu.set_sregs(&sregs)?;
        vcpu.set_regs(&kvm_regs { rip: CODE as u64, rsp: RESULT as u64, rflags: 2, ..Default::default() })
    }

    /// The guest's memory. Declared after the VM in `run`, but the kernel keeps its own hold on the pages, so
    /// the order in which they are dropped does not matter.
    struct Memory(*mut u8);

    impl Memory {
        fn new() -> Result<Self, Failure> {
            #[allow(unsafe_code, reason = "guest memory must be page-aligned and at a fixed place")]
            // SAFETY: a fresh anonymous mapping overlaps nothing.
            let mapped = unsafe {
                rustix::mm::mmap_anonymous(
                    std::ptr::null_mut(),
                    MEMORY_LEN,
                    ProtFlags::READ | ProtFlags::WRITE,
                    MapFlags::PRIVATE,
                )
            };
            mapped.map(|start| Self(start.cast())).map_err(|errno| ("get memory for a VM", errno.to_string()))
        }

        fn fill(&mut self) {
            let [pml4, pdpt, pd] = PAGE_TABLES;
            self.write(pml4, &(pdpt as u64 | 3).to_le_bytes()); // present, writable
            self.write(pdpt, &(pd as u64 | 3).to_le_bytes());
            self.write(pd, &0x83_u64.to_le_bytes()); // and a large page
            self.write(CODE, PROGRAM);
        }

        fn write(&mut self, at: usize, bytes: &[u8]) {
            assert!(at + bytes.len() <= MEMORY_LEN);
            #[allow(unsafe_code, reason = "memory shared with a guest is reached by pointer")]
            // SAFETY: inside the mapping, as just asserted; the guest does not run yet.
            unsafe {
                self.0.add(at).copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
            }
        }

        fn result(&self) -> u16 {
            #[allow(unsafe_code, reason = "memory shared with a guest is reached by pointer")]
            // SAFETY: inside the mapping and aligned; the guest has stopped.
            unsafe {
                self.0.add(RESULT).cast::<u16>().read_volatile()
            }
        }

        fn attach(&self, vm: &VmFd) -> Result<(), kvm_ioctls::Error> {
            let region = kvm_userspace_memory_region {
                slot: 0,
                flags: 0,
                guest_phys_addr: 0,
                memory_size: MEMORY_LEN as u64,
                userspace_addr: self.0 as u64,
            };
            #[allow(unsafe_code, reason = "hands our memory to a guest")]
            // SAFETY: the mapping is exclusively ours and holds nothing but the guest's bytes.
            unsafe {
                vm.set_user_memory_region(region)
            }
        }
    }

    impl Drop for Memory {
        fn drop(&mut self) {
            #[allow(unsafe_code, reason = "counterpart of the mapping in `new`")]
            // SAFETY: mapped by `new` with this length, and no reference into it exists.
            // A failure would only keep 64 KiB until the process ends.
            let _ = unsafe { rustix::mm::munmap(self.0.cast(), MEMORY_LEN) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_survive_json() {
        let probes = [
            KvmProbe::Usable,
            KvmProbe::NoPermission { group: Some("kvm".into()) },
            KvmProbe::Failed { step: "create a VM".into(), detail: "no".into() },
        ];
        for probe in probes {
            let text = serde_json::to_string(&probe).unwrap();
            assert_eq!(serde_json::from_str::<KvmProbe>(&text).unwrap(), probe);
        }
    }

    #[test]
    fn the_module_is_that_of_the_cpu() {
        let fix = |vendor: &str, flags: &str| {
            fix_of_missing(&format!(
                "processor\t: 0\nvendor_id\t: {vendor}\nflags\t\t: fpu {flags} lm\n\nprocessor\t: 1\n"
            ))
        };
        assert_eq!(fix("AuthenticAMD", "svm"), "sudo modprobe kvm_amd");
        assert_eq!(fix("GenuineIntel", "vmx"), "sudo modprobe kvm_intel");
        assert_eq!(
            fix("HygonGenuine", ""),
            "enable AMD-V (SVM) in the firmware, then `sudo modprobe kvm_amd`"
        );
        assert_eq!(
            fix("GenuineIntel", "vmxlike"),
            "enable Intel VT-x (VMX) in the firmware, then `sudo modprobe kvm_intel`"
        );
        assert!(fix("AuthenticAMD", "hypervisor").contains("nested virtualisation"));
        assert!(fix_of_missing("").contains("firmware"));
    }

    #[tokio::test]
    async fn a_probe_that_hangs_is_cut_off() {
        let probe = probe_in_child(Path::new("/bin/sleep"), &["600"], Duration::from_millis(50)).await;
        assert_eq!(probe, KvmProbe::Hung { limit_ms: 50 });
    }

    #[tokio::test]
    async fn a_probe_that_crashes_is_no_usable_kvm() {
        let probe =
            probe_in_child(Path::new("/bin/sh"), &["-c", "kill -SEGV $$"], Duration::from_secs(20)).await;
        assert!(matches!(&probe, KvmProbe::Failed { detail, .. } if detail.contains("SIGSEGV")), "{probe:?}");
    }
}
