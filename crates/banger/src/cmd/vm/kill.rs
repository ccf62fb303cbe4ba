use banger_api::vm::{KillVm, Vm};
use banger_api::{Client, ClientError};
use clap::Args;

use super::refs::Refs;
use crate::cmd::many::each;
use crate::cmd::{Outcome, block_on};
use crate::{daemon, ui};

#[derive(Debug, Args)]
pub(crate) struct KillArgs {
    #[command(flatten)]
    refs: Refs,
    /// Signal for the VM's process [default: KILL]
    #[arg(long, short)]
    signal: Option<String>,
}

pub(crate) fn run(args: KillArgs) -> Outcome {
    block_on(async {
        let client = daemon::connect().await?;
        let how = KillVm { signal: args.signal.as_deref().map(signal_name) };
        let vms = args.refs.resolve(&client).await;
        each(vms.into_iter().map(|vm| kill(&client, vm, &how)), |vm| ui::line(vm.spec.name)).await
    })
}

async fn kill(client: &Client, vm: Result<Vm, ClientError>, how: &KillVm) -> Result<Vm, ClientError> {
    client.vm_kill(&vm?.id, how).await?.finish(|_| ()).await
}

/// `SIGTERM`, `term` and `TERM` are one.
fn signal_name(text: &str) -> String {
    let name = text.to_ascii_uppercase();
    name.strip_prefix("SIG").unwrap_or(&name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_one_spelling() {
        assert_eq!(["SIGTERM", "term", "TERM"].map(signal_name), ["TERM"; 3]);
    }
}
