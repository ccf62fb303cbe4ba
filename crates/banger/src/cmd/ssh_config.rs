use banger_api::ssh::SshConfigView;
use clap::Subcommand;

use super::Outcome;
use super::vm::ssh::client::SshClient;
use crate::{daemon, ui};

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum SshConfigCommand {
    /// Show what ssh is told of VMs, and whether it is included
    Show {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Include it: one line at the top of ~/.ssh/config
    Install,
    /// Take that line out again, and leave ~/.ssh/config as it was
    Uninstall,
}

pub(crate) fn run(command: &SshConfigCommand) -> Outcome {
    match command {
        SshConfigCommand::Show { json } => show(*json),
        SshConfigCommand::Install => install(),
        SshConfigCommand::Uninstall => {
            let view = ask("uninstall")?;
            let how = if view.changed { "no longer includes" } else { "did not include" };
            ui::note(format_args!("{} {how} what ssh is told of VMs", view.user_file));
            Ok(0)
        }
    }
}

fn ask(action: &str) -> Result<SshConfigView, crate::error::CommandError> {
    Ok(daemon::ask(&["ssh-config", action])?)
}

fn show(json: bool) -> Outcome {
    let view = ask("show")?;
    if json {
        ui::json(&view)?;
        return Ok(0);
    }
    let state = if view.installed { "included" } else { "not included: `banger ssh-config install`" };
    let head = format!("# {} ({state})\n{}\n\n# {}\n", view.user_file, view.line, view.file);
    ui::print(format_args!("{head}{}", view.text))?;
    Ok(0)
}

fn install() -> Outcome {
    let view = ask("install")?;
    let how = if view.changed { "now includes" } else { "includes already" };
    ui::note(format_args!("{} {how} {}", view.user_file, view.file));
    // ssh reads the file of the user database's home directory, and refuses one that others may write to.
    match SshClient::of_user().proxy_command("name.vm") {
        Ok(command) if command.contains("ssh-proxy") => {
            ui::hint("log in", "ssh root@NAME.vm");
            ui::hint("undo", "banger ssh-config uninstall");
        }
        Ok(_) => ui::note(format_args!(
            "ssh does not read it: it looks for another ~/.ssh/config, or has an earlier word on *.vm; see `ssh -G name.vm`"
        )),
        Err(error) => ui::note(format_args!("ssh does not read it yet: {error}")),
    }
    Ok(0)
}
