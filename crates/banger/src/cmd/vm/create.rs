use banger_api::vm::{Lifetime, Vm};
use clap::Args;

use super::machine::MachineArgs;
use crate::cmd::operation::{Followed, ProgressArgs, catch_signals, follow};
use crate::cmd::{Outcome, block_on};
use crate::error::CommandError;
use crate::{daemon, ui};

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    machine: MachineArgs,
    /// Start it as well, and wait until commands can run in it
    #[arg(long)]
    start: bool,
    /// Delete it as soon as it stops
    #[arg(long, requires = "start")]
    rm: bool,
    #[command(flatten)]
    progress: ProgressArgs,
}

pub(crate) fn run(args: CreateArgs) -> Outcome {
    block_on(async {
        let client = daemon::connect().await?;
        let mut signals = catch_signals()?;
        let lifetime = if args.rm { Lifetime::UntilStopped } else { Lifetime::Kept };
        let mut stream = client.vm_create(&args.machine.request(lifetime, args.start)).await?;
        match follow::<Vm>(&client, &mut stream, args.progress.verbosity(), &mut signals).await? {
            Followed::Done(vm) => ui::line(&vm.spec.name).map(|()| 0),
            Followed::Interrupted { by, too_late } => {
                if let Some(vm) = too_late {
                    super::delete::by_force(&client, &vm.id).await?;
                }
                Err(CommandError::Quiet { exit_code: by.exit_code() })
            }
        }
    })
}
