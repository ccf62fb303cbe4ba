use banger_api::config::ConfigView;
use banger_api::ports::PortForward;
use banger_api::vm::{CreateVm, InitChoice, Lifetime, NetworkMode, VmmKind};
use clap::{Args, ValueEnum};

use crate::{daemon, ui};

// What a VM is made of.
#[derive(Debug, Args)]
pub(crate) struct MachineArgs {
    /// Name of the VM; made up when absent
    #[arg(long)]
    name: Option<String>,
    /// Image to start from
    #[arg(long)]
    image: Option<String>,
    /// Kernel to boot
    #[arg(long)]
    kernel: Option<String>,
    /// Number of virtual CPUs
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    vcpu: Option<u32>,
    /// Memory: 512M, 2G, 1.5GiB (a bare number means MiB)
    #[arg(long, short, value_name = "SIZE", value_parser = ui::parse_mib, allow_hyphen_values = true)]
    memory: Option<u64>,
    /// Size of the disk that holds /root
    #[arg(long, value_name = "SIZE", value_parser = ui::parse_mib, allow_hyphen_values = true)]
    disk_size: Option<u64>,
    /// Network: through a gateway on this host, or none [default: as configured, else user]
    #[arg(long, value_enum)]
    network: Option<Network>,
    /// What the VM may reach: internet, none, all, learn, or a list such as
    /// github.com,*.debian.org,host:11434,@npm [default: as configured, else internet]
    #[arg(long, value_name = "POLICY", value_delimiter = ',')]
    egress: Option<Vec<String>>,
    /// Reach a port of the VM at a port of this host, whenever the VM runs; 0 for LOCAL is any that is free
    #[arg(long, short, value_name = "[ADDR:]LOCAL:GUEST")]
    publish: Vec<PortForward>,
    /// Reach every TCP port that something listens on in the VM at the VM's own loopback address
    #[arg(long)]
    auto: bool,
    /// Virtual machine monitor
    #[arg(long, value_enum, default_value_t)]
    vmm: Vmm,
    /// Who is PID 1: the image's own init if it has one, or banger's agent
    #[arg(long, value_enum, default_value_t)]
    init: Init,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Network {
    User,
    None,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Vmm {
    #[default]
    Auto,
    Qemu,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Init {
    #[default]
    Auto,
    Agent,
}

impl MachineArgs {
    pub(crate) fn request(self, lifetime: Lifetime, start: bool) -> CreateVm {
        CreateVm {
            name: self.name,
            image: self.image,
            kernel: self.kernel,
            vcpu: self.vcpu,
            memory_mib: self.memory,
            disk_mib: self.disk_size,
            network: self.network.map(|network| match network {
                Network::User => NetworkMode::User,
                Network::None => NetworkMode::None,
            }),
            egress: self.egress,
            vmm: match self.vmm {
                Vmm::Auto => None,
                Vmm::Qemu => Some(VmmKind::Qemu),
            },
            init: match self.init {
                Init::Auto => InitChoice::Auto,
                Init::Agent => InitChoice::Agent,
            },
            lifetime,
            publish: self.publish,
            auto_forward: self.auto,
            start,
            workspace: None,
        }
    }
}

/// Adds the sizes that VMs get on this host to the help of the commands that create one. A configuration that
/// cannot be read is no reason to withhold help.
pub(crate) fn with_defaults(tree: clap::Command) -> clap::Command {
    let Some(line) =
        daemon::ask::<ConfigView>(&["config", "--json"]).ok().and_then(|view| defaults_line(&view))
    else {
        return tree;
    };
    let both = |tree: clap::Command| {
        let (run, create) = (line.clone(), line.clone());
        tree.mut_subcommand("run", |command| command.after_help(run))
            .mut_subcommand("create", |command| command.after_help(create))
    };
    both(tree.mut_subcommand("vm", both))
}

fn defaults_line(view: &ConfigView) -> Option<String> {
    let value = |key: &str| {
        view.values.iter().find(|value| value.key == key).map(|value| value.value.trim_matches('"'))
    };
    let disk = value("vm_defaults.disk_size")?;
    let disk = ui::parse_mib(disk).map_or_else(|_| disk.to_owned(), ui::memory);
    Some(format!(
        "VM defaults on this host: {} vcpu, {} MiB, {disk} disk, image {}, kernel {} (see: banger config show)",
        value("vm_defaults.vcpu")?,
        value("vm_defaults.memory_mib")?,
        value("default_image")?,
        value("default_kernel")?,
    ))
}

#[cfg(test)]
mod tests {
    use banger_api::config::{ConfigValue, Origin};

    use super::*;

    #[test]
    fn defaults_are_told_as_the_spec_line_tells_them() {
        let value = |(key, value): (&str, &str)| ConfigValue {
            key: key.into(),
            value: value.into(),
            origin: Origin::Auto,
        };
        let values = [
            ("default_image", "\"debian-trixie\""),
            ("default_kernel", "\"debian-6.12\""),
            ("vm_defaults.vcpu", "2"),
            ("vm_defaults.memory_mib", "2048"),
            ("vm_defaults.disk_size", "\"8GiB\""),
        ];
        let mut view = ConfigView { path: String::new(), exists: false, values: values.map(value).into() };
        let line = defaults_line(&view).unwrap();
        assert!(
            line.contains("2 vcpu, 2048 MiB, 8 GiB disk, image debian-trixie, kernel debian-6.12"),
            "{line}"
        );
        view.values.pop();
        assert_eq!(defaults_line(&view), None);
    }
}
