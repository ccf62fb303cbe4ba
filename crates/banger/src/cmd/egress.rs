//! `banger egress`: what there is to write into an egress policy.

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
    for set in &sets {
        ui::line(format_args!("{}  {}", ui::paint(ui::GOOD, &set.name), set.about))?;
        for names in lines(&set.entries) {
            ui::line(format_args!("    {names}"))?;
        }
    }
    Ok(0)
}

/// As many names on a line as fit.
fn lines(names: &[String]) -> Vec<String> {
    const WIDTH: usize = 96;
    let mut lines: Vec<String> = Vec::new();
    for name in names {
        match lines.last_mut().filter(|line| line.len() + 1 + name.len() <= WIDTH) {
            Some(line) => *line += &format!(" {name}"),
            None => lines.push(name.clone()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_wider_than_a_terminal_and_no_name_is_lost() {
        let names: Vec<String> = (0..50).map(|number| format!("name-{number}.example.org")).collect();
        let lines = lines(&names);
        assert!(lines.iter().all(|line| line.len() <= 96) && lines.len() > 5);
        assert_eq!(lines.join(" "), names.join(" "));
    }
}
