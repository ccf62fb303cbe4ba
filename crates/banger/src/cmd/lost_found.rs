use banger_api::lost_found::{LostThing, RestoreLost};
use clap::{Args, Subcommand};

use super::{Outcome, block_on};
use crate::{daemon, ui};

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum LostFoundCommand {
    /// List what was found and where it lay
    #[command(visible_alias = "ls")]
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Bring something back to where it lay
    Restore(RestoreArgs),
    /// Remove something for good
    #[command(visible_alias = "rm")]
    Delete {
        /// As `list` shows it
        #[arg(required = true)]
        name: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// As `list` shows it
    #[arg(required = true)]
    name: String,
    /// The image that a VM was made of, when it does not say so itself
    #[arg(long)]
    image: Option<String>,
}

pub(crate) fn run(command: LostFoundCommand) -> Outcome {
    block_on(async {
        let client = daemon::connect().await?;
        match command {
            LostFoundCommand::List { json } => {
                let found = client.lost_found().await?;
                if json { ui::json(&found)? } else { ui::print(table(&found))? }
            }
            LostFoundCommand::Restore(RestoreArgs { name, image }) => {
                let restored = client.lost_restore(&name, &RestoreLost { image }).await?;
                ui::line(format_args!("{} {}", restored.kind, restored.name))?;
            }
            LostFoundCommand::Delete { name } => {
                client.lost_delete(&name).await?;
                ui::line(name)?;
            }
        }
        Ok(0)
    })
}

fn table(found: &[LostThing]) -> ui::Table {
    let mut table = ui::Table::new(&["NAME", "SIZE", "FROM", "WHY"]);
    for thing in found {
        let from = thing.from.as_deref().unwrap_or("-");
        table.row([thing.name.clone(), ui::bytes(thing.disk_used_bytes), from.into(), thing.why.clone()]);
    }
    table
}
