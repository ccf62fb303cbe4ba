use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::Path;

use banger_api::vm::{Acceleration, NetworkMode};
use banger_guest_protocol::PORT_NAME;

use crate::paths::VmDir;
use crate::vmm::{BootSpec, serial};

/// The numbers of the descriptors that QEMU is started with, beside the usual three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listening {
    pub(super) agent: RawFd,
    pub(super) qmp: RawFd,
}

/// QEMU's arguments for a VM. Pure: equal specs give equal command lines.
pub(super) fn arguments(spec: &BootSpec, listening: Listening) -> Vec<OsString> {
    let mut args = Arguments::default();
    args.machine(spec);
    args.console();
    args.agent_channel(listening.agent);
    args.monitor(listening.qmp);
    args.disk(serial::BASE, &spec.image, Access::ReadOnly);
    args.disk(serial::COW, Path::new(VmDir::COW), Access::ReadWrite);
    args.disk(serial::WORK, Path::new(VmDir::WORK), Access::ReadWrite);
    args.disk(serial::MODULES, &spec.modules, Access::ReadOnly);
    match spec.network {
        NetworkMode::User => {
            // IPv6 is off: the host may have none, and a guest that believes it has waits for time-outs.
            args.pair("-netdev", "user,id=net0,ipv6=off");
            args.pair("-device", "virtio-net-device,netdev=net0");
        }
        NetworkMode::None => {}
    }
    args.0
}

/// What marks a process as the VMM of VM `id`; `recover` looks for it.
pub(super) fn marker(id: &crate::identity::VmId) -> String {
    format!("banger-{id}")
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    ReadOnly,
    ReadWrite,
}

#[derive(Default)]
struct Arguments(Vec<OsString>);

impl Arguments {
    fn flag(&mut self, flag: &str) {
        self.0.push(flag.into());
    }

    fn pair(&mut self, flag: &str, value: impl Into<OsString>) {
        self.0.push(flag.into());
        self.0.push(value.into());
    }

    fn machine(&mut self, spec: &BootSpec) {
        self.pair("-name", marker(&spec.id));
        self.flag("-nodefaults");
        self.flag("-no-user-config");
        // A guest that reboots or panics ends the process: the daemon then knows, and nothing spins.
        self.flag("-no-reboot");
        self.pair("-display", "none");
        self.pair("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
        // No PIT and no PIC: Linux leaves both alone on this machine, and the first tick of a PIT that nobody has silenced
        // may come as interrupt 0 (docs/decisions/0008).
        self.pair("-M", "microvm,isa-serial=on,rtc=on,pit=off,pic=off,dump-guest-core=off");
        let (accelerator, cpu) = match spec.acceleration {
            Acceleration::Kvm => ("kvm", "host"),
            // Emulated, `rep movsb` goes byte by byte; without these two flags the guest's kernel copies by words, which
            // made pipes three times as fast.
            Acceleration::Tcg => ("tcg", "max,-erms,-fsrm"),
        };
        self.pair("-accel", accelerator);
        self.pair("-cpu", cpu);
        self.pair("-smp", spec.vcpu.to_string());
        self.pair("-m", format!("{}M", spec.memory_mib));
        self.pair("-kernel", &spec.vmlinux);
        self.pair("-initrd", &spec.initramfs);
        self.pair("-append", kernel_command_line(spec));
    }

    fn console(&mut self) {
        // Its standard output is the console and nothing else. Nothing is typed: standard input is empty.
        self.pair("-chardev", "stdio,id=console,signal=off");
        self.pair("-serial", "chardev:console");
    }

    fn monitor(&mut self, listening: RawFd) {
        self.pair("-chardev", format!("socket,id=qmp,fd={listening},server=on,wait=off"));
        self.pair("-mon", "chardev=qmp,mode=control");
    }

    fn agent_channel(&mut self, listening: RawFd) {
        self.pair("-chardev", format!("socket,id=agent,fd={listening},server=on,wait=off"));
        self.pair("-device", "virtio-serial-device");
        self.pair("-device", format!("virtserialport,chardev=agent,name={PORT_NAME}"));
    }

    fn disk(&mut self, serial: &str, file: &Path, access: Access) {
        let mut drive = OsString::from(format!("if=none,format=raw,id={serial},"));
        match access {
            Access::ReadOnly => drive.push("readonly=on,rerror=report,"),
            // What the guest frees is given back to the host: the files are sparse. A write that the host cannot take stops
            // the guest, and is made again when it goes on (docs/decisions/0019).
            Access::ReadWrite => {
                drive.push("discard=unmap,detect-zeroes=unmap,werror=stop,rerror=report,");
            }
        }
        drive.push("file=");
        drive.push(escape_commas(file));
        self.pair("-drive", drive);
        self.pair("-device", format!("virtio-blk-device,drive={serial},serial={serial}"));
    }
}

/// A comma in a value is written twice in QEMU's option syntax.
fn escape_commas(path: &Path) -> OsString {
    use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
    let mut escaped = Vec::new();
    for byte in path.as_os_str().as_bytes() {
        escaped.push(*byte);
        if *byte == b',' {
            escaped.push(b',');
        }
    }
    OsString::from_vec(escaped)
}

/// The guest is configured over the agent channel; what stands here is about booting fast and dying visibly.
fn kernel_command_line(spec: &BootSpec) -> String {
    let always = ["console=ttyS0", "quiet", "panic=-1", "reboot=t", "net.ifnames=0"];
    let mut words = always.map(str::to_owned).to_vec();
    if spec.acceleration == Acceleration::Tcg {
        // Emulated, a guest is not exposed to its own speculation, and address randomisation relocates a whole kernel.
        words.extend(["nokaslr".into(), "mitigations=off".into()]);
        // Without it the guest measures its counter against the PIT, fails when the host is busy, and hangs.
        words.extend(spec.tsc_khz.map(|khz| format!("tsc_early_khz={khz}")));
        // On a busy host the guest's watchdog mistakes its own lateness for a bad counter, and its clock then runs slow.
        words.extend(spec.tsc_khz.map(|_| "tsc=reliable".into()));
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::VmId;

    fn spec() -> BootSpec {
        BootSpec {
            id: VmId::parse("0123456789ab").unwrap(),
            vcpu: 2,
            memory_mib: 1024,
            acceleration: Acceleration::Tcg,
            tsc_khz: Some(2_450_000),
            network: NetworkMode::User,
            vmlinux: "/state/kernels/k/vmlinux".into(),
            initramfs: "/cache/initramfs/k.cpio".into(),
            image: "/state/a,b/rootfs.ext4".into(),
            modules: "/state/kernels/k/modules.ext4".into(),
        }
    }

    fn lines(spec: &BootSpec) -> String {
        let mut text = String::new();
        for arg in arguments(spec, Listening { agent: 7, qmp: 8 }) {
            let arg = arg.into_string().unwrap();
            text.push(if arg.starts_with('-') { '\n' } else { ' ' });
            text.push_str(&arg);
        }
        text.trim_start().to_owned()
    }

    #[test]
    fn emulated_with_network() {
        insta::assert_snapshot!(lines(&spec()));
    }

    #[test]
    fn accelerated_without_network() {
        let spec = BootSpec { acceleration: Acceleration::Kvm, network: NetworkMode::None, ..spec() };
        insta::assert_snapshot!(lines(&spec));
    }
}
