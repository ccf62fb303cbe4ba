use banger_api::vm::{StopVm, Stopped, Vm};
use banger_api::{Client, ClientError};
use clap::Args;

use super::delete::show;
use super::refs::Refs;
use crate::cmd::many::each;
use crate::cmd::{Outcome, block_on};
use crate::{daemon, ui};

#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    #[command(flatten)]
    refs: Refs,
    /// How many seconds a guest may take to shut down before it is killed
    #[arg(long, short, value_name = "SECONDS", default_value_t = 20)]
    timeout: u32,
}

pub(crate) fn run(args: StopArgs) -> Outcome {
    block_on(async {
        let client = daemon::connect().await?;
        let how = StopVm { timeout_ms: u64::from(args.timeout) * 1000 };
        let several = args.refs.several();
        let vms = args.refs.resolve(&client).await;
        each(vms.into_iter().map(|vm| stop(&client, vm, how, several)), |stopped| {
            let name = &stopped.vm.spec.name;
            if stopped.killed {
                ui::note(format_args!("{name} did not shut down within {} s and was killed", args.timeout));
            }
            ui::line(name)
        })
        .await
    })
}

async fn stop(
    client: &Client,
    vm: Result<Vm, ClientError>,
    how: StopVm,
    several: bool,
) -> Result<Stopped, ClientError> {
    let vm = vm?;
    let mut progress = (!several).then(ui::Progress::transient);
    let mut stream = client.vm_stop(&vm.id, how).await?;
    stream.finish(|event| show(progress.as_mut(), &vm.spec.name, event)).await
}
