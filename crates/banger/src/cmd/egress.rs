//! `banger egress`: what there is to write into an egress policy.

use banger_api::egress::EgressSet;
use clap::{Args, Subcommand};

use super::{Outcome, block_on};
use crate::{daemon, ui};

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum EgressCommand {
    /// List the sets of names that a policy may name by one word
    Sets(SetsArgs),
}

#[derive(Debug, Args)]
pub(crate) struct SetsArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(command: &EgressCommand) -> Outcome {
    let EgressCommand::Sets(args) = command;
    let sets = block_on(async { Ok(daemon::connect().await?.egress_sets().await?) })?;
    if args.json {
        ui::json(&sets)?;
        return Ok(0);
    }
    ui::print(table(&sets))?;
    Ok(0)
}

fn table(sets: &[EgressSet]) -> ui::Table {
    let mut table = ui::Table::new(&["SET", "ABOUT", "NAMES"]);
    for set in sets {
        table.row([set.name.clone(), set.about.clone(), set.entries.join(" ")]);
    }
    table
}
