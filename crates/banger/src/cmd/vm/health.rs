use clap::Args;

use crate::cmd::{Outcome, block_on};
use crate::{daemon, ui};

#[derive(Debug, Args)]
pub(crate) struct HealthArgs {
    /// Name, id, or unique beginning of an id
    #[arg(value_name = "REF")]
    vm: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &HealthArgs) -> Outcome {
    let health = block_on(async { Ok(daemon::connect().await?.vm_health(&args.vm).await?) })?;
    if args.json {
        ui::json(&health)?;
        return Ok(0);
    }
    let fields = ui::Fields::default()
        .with("round trip", ui::round_trip(health.round_trip_us))
        .with("agent", &health.agent_build)
        .with("kernel", &health.kernel_release)
        .with("up", ui::duration(health.uptime_ms))
        .with("commands", health.exec_sessions);
    ui::print(fields)?;
    Ok(0)
}
