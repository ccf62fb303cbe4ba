use banger_api::vm::{LogSource, VmLogs};
use clap::Args;

use crate::cmd::{Outcome, block_on};
use crate::{daemon, ui};

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// Name, id, or unique beginning of an id
    #[arg(value_name = "REF")]
    vm: String,
    /// Go on with what is appended
    #[arg(long, short)]
    follow: bool,
    /// The log of the VM's process instead of the guest's console
    #[arg(long)]
    vmm: bool,
}

pub(crate) fn run(args: &LogsArgs) -> Outcome {
    block_on(async {
        let source = if args.vmm { LogSource::Vmm } else { LogSource::Console };
        let client = daemon::connect().await?;
        let mut log = client.vm_logs(&args.vm, VmLogs { source, follow: args.follow }).await?;
        let mut filter = anstream::adapter::StripBytes::new();
        while let Some(piece) = log.next().await? {
            ui::raw(&piece, &mut filter)?;
        }
        Ok(0)
    })
}
