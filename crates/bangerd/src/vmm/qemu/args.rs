use std::ffi::OsString;
use std::os::fd::RawFd;

use banger_api::vm::Acceleration;
use banger_guest_protocol::{PORT_NAME, flow};

use crate::vmm::{Access, Disk, Machine, marker};

/// The numbers of the descriptors that QEMU is started with, beside the usual three.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listening {
    pub(super) agent: RawFd,
    pub(super) qmp: RawFd,
    /// Where there is a network.
    pub(super) network: Option<RawFd>,
}

/// QEMU's arguments for a VM. Pure: equal machines give equal command lines.
pub(super) fn arguments(machine: &Machine, listening: Listening) -> Vec<OsString> {
    let mut args = Arguments::default();
    args.machine(machine);
    args.console();
    args.pair("-device", "virtio-serial-device");
    args.port("agent", PORT_NAME, listening.agent);
    if let Some(network) = listening.network {
        args.port("network", flow::PORT_NAME, network);
    }
    args.monitor(listening.qmp);
    machine.disks.iter().for_each(|disk| args.disk(disk));
    args.0
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

    fn machine(&mut self, machine: &Machine) {
        self.pair("-name", marker(&machine.id));
        self.flag("-nodefaults");
        self.flag("-no-user-config");
        // A guest that reboots or panics ends the process: the daemon then knows, and nothing spins.
        self.flag("-no-reboot");
        self.pair("-display", "none");
        self.pair("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
        // No PIT and no PIC: Linux leaves both alone on this machine, and the first tick of a PIT that nobody
        // has silenced may come as interrupt 0 (docs/decisions/0008).
        self.pair("-M", "microvm,isa-serial=on,rtc=on,pit=off,pic=off,dump-guest-core=off");
        let (accelerator, cpu) = match machine.acceleration {
            Acceleration::Kvm => ("kvm", "host"),
            // Emulated, `rep movsb` goes byte by byte; without these two flags the guest's kernel copies by
            // words, which made pipes three times as fast.
            Acceleration::Tcg => ("tcg", "max,-erms,-fsrm"),
        };
        self.pair("-accel", accelerator);
        self.pair("-cpu", cpu);
        self.pair("-smp", machine.vcpu.to_string());
        self.pair("-m", format!("{}M", machine.memory_mib));
        self.pair("-kernel", machine.kernel.vmlinux);
        self.pair("-initrd", machine.kernel.initramfs);
        self.pair("-append", kernel_command_line(machine));
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

    /// A port of the guest's whose other end is whoever connects to the socket that listens.
    fn port(&mut self, id: &str, name: &str, listening: RawFd) {
        self.pair("-chardev", format!("socket,id={id},fd={listening},server=on,wait=off"));
        self.pair("-device", format!("virtserialport,chardev={id},name={name}"));
    }

    fn disk(&mut self, disk: &Disk) {
        let (name, file) = (disk.role.name(), disk.file);
        let access = match disk.access {
            Access::ReadOnly => "readonly=on,rerror=report",
            // What the guest frees is given back to the host: the files are sparse. A write that the host
            // cannot take stops the guest, and is made again when it goes on (docs/decisions/0019).
            Access::ReadWrite => "discard=unmap,detect-zeroes=unmap,werror=stop,rerror=report",
        };
        self.pair("-drive", format!("if=none,format=raw,id={name},{access},file={file}"));
        self.pair("-device", format!("virtio-blk-device,drive={name},serial={name}"));
    }
}

/// The guest is configured over the agent channel; what stands here is about booting fast and dying visibly.
fn kernel_command_line(machine: &Machine) -> String {
    let always = ["console=ttyS0", "quiet", "panic=-1", "reboot=t", "net.ifnames=0"];
    let mut words = always.map(str::to_owned).to_vec();
    if machine.acceleration == Acceleration::Tcg {
        // Emulated, a guest is not exposed to its own speculation, and address randomisation relocates a
        // whole kernel.
        words.extend(["nokaslr".into(), "mitigations=off".into()]);
        // Without it the guest measures its counter against the PIT, fails when the host is busy, and hangs.
        words.extend(machine.tsc_khz.map(|khz| format!("tsc_early_khz={khz}")));
        // On a busy host the guest's watchdog mistakes its own lateness for a bad counter, and its clock then
        // runs slow.
        words.extend(machine.tsc_khz.map(|_| "tsc=reliable".into()));
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::VmId;

    fn machine() -> Machine {
        Machine {
            id: VmId::parse("0123456789ab").unwrap(),
            vcpu: 2,
            memory_mib: 1024,
            acceleration: Acceleration::Tcg,
            tsc_khz: Some(2_450_000),
            kernel: Machine::KERNEL,
            disks: Machine::DISKS.into(),
            has_gateway: true,
        }
    }

    fn lines(machine: &Machine) -> String {
        let mut text = String::new();
        for arg in
            arguments(machine, Listening { agent: 7, qmp: 8, network: machine.has_gateway.then_some(9) })
        {
            let arg = arg.into_string().unwrap();
            text.push(if arg.starts_with('-') { '\n' } else { ' ' });
            text.push_str(&arg);
        }
        text.trim_start().to_owned()
    }

    #[test]
    fn emulated_with_network() {
        insta::assert_snapshot!(lines(&machine()));
    }

    #[test]
    fn accelerated_without_network() {
        let machine = Machine { acceleration: Acceleration::Kvm, has_gateway: false, ..machine() };
        insta::assert_snapshot!(lines(&machine));
    }
}
