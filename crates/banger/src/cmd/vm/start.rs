use banger_api::vm::Vm;
use banger_api::{Client, ClientError};
use clap::Args;

use super::refs::Refs;
use crate::cmd::many::each;
use crate::cmd::operation::ProgressArgs;
use crate::cmd::{Outcome, block_on};
use crate::ui::{Progress, Verbosity};
use crate::{daemon, ui};

#[derive(Debug, Args)]
pub(crate) struct StartArgs {
    #[command(flatten)]
    refs: Refs,
    #[command(flatten)]
    progress: ProgressArgs,
}

pub(crate) fn run(args: StartArgs) -> Outcome {
    block_on(async {
        let client = daemon::connect().await?;
        // The stages of several VMs at once would only get mixed up.
        let verbosity = if args.refs.several() { Verbosity::Quiet } else { args.progress.verbosity() };
        let vms = args.refs.resolve(&client).await;
        each(vms.into_iter().map(|vm| start(&client, vm, verbosity)), |vm| ui::line(vm.spec.name)).await
    })
}

async fn start(
    client: &Client,
    vm: Result<Vm, ClientError>,
    verbosity: Verbosity,
) -> Result<Vm, ClientError> {
    let mut progress = Progress::new(verbosity);
    client.vm_start(&vm?.id).await?.finish(|event| progress.show(event)).await
}
