use std::path::Path;

use banger_api::vm::{ListVms, Vm};
use banger_api::workspace::Workspace;
use clap::Args;

use crate::cmd::{Outcome, block_on};
use crate::{daemon, ui};

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Stopped ones, too
    #[arg(long, short)]
    all: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Print names only
    #[arg(long, short, conflicts_with = "json")]
    quiet: bool,
}

pub(crate) fn run(args: &ListArgs) -> Outcome {
    let vms = block_on(async { Ok(daemon::connect().await?.vms(ListVms { all: args.all }).await?) })?;
    if args.json {
        ui::json(&vms)?;
    } else if args.quiet {
        vms.iter().try_for_each(|vm| ui::line(&vm.spec.name))?;
    } else {
        ui::print(table(&vms))?;
    }
    Ok(0)
}

fn table(vms: &[Vm]) -> ui::Table {
    let mut table =
        ui::Table::new(&["NAME", "STATE", "IMAGE", "VCPU", "MEM", "DISK", "IP", "WORKSPACE", "UPTIME"]);
    for vm in vms {
        table.row([
            vm.spec.name.clone(),
            vm.state_in_words(),
            vm.spec.image.clone(),
            vm.spec.vcpu.to_string(),
            ui::memory(vm.spec.memory_mib),
            ui::memory(vm.spec.disk_mib),
            vm.address.clone().unwrap_or_else(|| "-".into()),
            vm.workspace.as_ref().map_or("-".into(), workspace),
            vm.uptime_ms.map_or("-".into(), ui::duration),
        ]);
    }
    table
}

/// Which repository, and which commit of it.
fn workspace(workspace: &Workspace) -> String {
    let path = Path::new(workspace.host_path.as_os_str());
    let name = ui::file_name(path.file_name().unwrap_or(path.as_os_str()));
    let commit = workspace.commit.as_deref().map(|commit| format!("@{}", &commit[..commit.len().min(7)]));
    let state = if workspace.complete { "" } else { " (incomplete)" };
    format!("{name}{}{state}", commit.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vms_are_listed_in_a_table() {
        let vm = |json: &str| serde_json::from_str::<Vm>(json).unwrap();
        let running = vm(
            r#"{"id":"0123456789ab","name":"brave-otter","image":"debian-trixie","kernel":"debian-6.12","vcpu":4,
            "memory_mib":8192,"disk_mib":8192,"vmm":"qemu","network":"user","egress":["internet"],"init":"auto","state":"running",
            "lifetime":"kept","created_at_unix_ms":0,"uptime_ms":192000,"vmm_pid":7,"acceleration":"tcg",
            "address":"198.18.0.2","guest_init":"/sbin/init","disk_used_bytes":null,"last_error":null,
            "workspace":{"guest_path":"/root/repo","host_path":"/home/me/src/otter","inside":"","mode":"shallow","include_untracked":false,
            "commit":"0123456789abcdef0123456789abcdef01234567","branch":"main","prepared_at_unix_ms":0,
            "complete":true}}"#,
        );
        let mut stopped = running.clone();
        (stopped.spec.name, stopped.state) = ("x".into(), banger_api::vm::VmState::Stopped);
        stopped.workspace = None;
        (stopped.address, stopped.uptime_ms, stopped.spec.memory_mib) = (None, None, 512);
        let mut paused = running.clone();
        (paused.state, paused.paused_because) =
            (banger_api::vm::VmState::Paused, Some(banger_api::vm::Pause::HostDiskFull));
        insta::assert_snapshot!(table(&[paused]).to_string(), @r"
        NAME          STATE                    IMAGE           VCPU   MEM     DISK    IP           WORKSPACE       UPTIME
        brave-otter   paused: host disk full   debian-trixie   4      8 GiB   8 GiB   198.18.0.2   otter@0123456   3m 12s
        ");
        insta::assert_snapshot!(table(&[running, stopped]).to_string(), @r"
        NAME          STATE     IMAGE           VCPU   MEM       DISK    IP           WORKSPACE       UPTIME
        brave-otter   running   debian-trixie   4      8 GiB     8 GiB   198.18.0.2   otter@0123456   3m 12s
        x             stopped   debian-trixie   4      512 MiB   8 GiB   -            -               -
        ");
    }
}
