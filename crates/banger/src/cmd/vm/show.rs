use std::net::SocketAddr;

use banger_api::ports::PortForward;
use banger_api::vm::{Lifetime, NetworkMode, Vm, VmSpec};
use banger_api::workspace::Workspace;
use clap::Args;

use super::refs::Refs;
use crate::cmd::many::each;
use crate::cmd::{Outcome, block_on};
use crate::{daemon, ui};

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    refs: Refs,
    /// Print JSON: an object for one REF, an array for several
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: ShowArgs) -> Outcome {
    block_on(async {
        let client = daemon::connect().await?;
        let (several, mut shown) = (args.refs.several(), Vec::new());
        let found = args.refs.resolve(&client).await.into_iter().map(std::future::ready);
        let code = each(found, |vm| {
            if !args.json {
                let gap = if shown.is_empty() { "" } else { "\n" };
                ui::print(format_args!("{gap}{}", fields(&vm)))?;
            }
            shown.push(vm);
            Ok(())
        })
        .await?;
        match &shown[..] {
            _ if !args.json => {}
            vms if several => ui::json(&vms)?,
            [vm] => ui::json(vm)?,
            _ => {}
        }
        Ok(code)
    })
}

fn fields(vm: &Vm) -> ui::Fields {
    let spec = &vm.spec;
    let lifetime = match vm.lifetime {
        Lifetime::Kept => None,
        Lifetime::UntilStopped => Some("deleted when it stops"),
        Lifetime::Leased => Some("deleted when the command that made it ends"),
    };
    let workspace = vm.workspace.as_ref();
    ui::Fields::default()
        .with("name", &spec.name)
        .with("id", &vm.id)
        .with("state", vm.state_in_words())
        .with_some("up", vm.uptime_ms.map(ui::duration))
        .with_some("last error", vm.last_error.as_ref())
        .with("image", &spec.image)
        .with("kernel", &spec.kernel)
        .with("vcpu", spec.vcpu)
        .with("memory", ui::memory(spec.memory_mib))
        .with("disk", ui::memory(spec.disk_mib))
        .with_some("on disk", vm.disk_used_bytes.map(ui::bytes))
        .with("vmm", vm.acceleration.map_or(spec.vmm.to_string(), |how| format!("{} ({how})", spec.vmm)))
        .with_some("pid", vm.vmm_pid)
        .with("network", format!("{:?}", spec.network).to_lowercase())
        .with_some("egress", (spec.network != NetworkMode::None).then(|| spec.egress.join(",")))
        .with_some("address", vm.address.as_ref())
        .with_some("publish", (!spec.publish.is_empty()).then(|| published(spec)))
        .with_some("auto", spec.auto_forward.then_some("every TCP port that it listens on is forwarded"))
        .with_some("init", vm.guest_init.as_ref())
        .with_some("workspace", workspace.map(|workspace| ui::file_name(workspace.host_path.as_os_str())))
        .with_some("  in the VM", workspace.map(|workspace| ui::file_name(workspace.guest_path.as_os_str())))
        .with_some("  commit", workspace.and_then(|workspace| workspace.commit.as_ref()))
        .with_some(
            "  branch",
            workspace.and_then(|workspace| workspace.branch.as_ref()).map(|name| ui::clean(name)),
        )
        .with_some("  prepared", workspace.map(prepared))
        .with_some("lifetime", lifetime)
        .with("created", ui::ago(vm.created_at_unix_ms))
}

fn published(spec: &VmSpec) -> String {
    let one = |forward: &PortForward| {
        format!("{} -> {}", SocketAddr::new(forward.address, forward.local), forward.guest)
    };
    spec.publish.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn prepared(workspace: &Workspace) -> String {
    let when = ui::ago(workspace.prepared_at_unix_ms);
    if workspace.complete { format!("{when}, {}", workspace.mode) } else { "not to its end".into() }
}
