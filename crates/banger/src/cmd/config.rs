use banger_api::config::ConfigView;
use clap::Subcommand;

use super::Outcome;
use crate::{daemon, ui};

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum ConfigCommand {
    /// Show every key, its value, and where that comes from
    Show {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run(command: &ConfigCommand) -> Outcome {
    let ConfigCommand::Show { json } = command;
    let view: ConfigView = daemon::ask(&["config", "--json"])?;
    if *json {
        ui::json(&view)?;
        return Ok(0);
    }
    let missing = if view.exists { "" } else { " (does not exist)" };
    let mut table = ui::Table::new(&["KEY", "VALUE", "ORIGIN"]);
    for value in &view.values {
        table.row([value.key.clone(), value.value.clone(), value.origin.to_string()]);
    }
    ui::print(format_args!("file: {}{missing}\n\n{table}", view.path))?;
    Ok(0)
}
