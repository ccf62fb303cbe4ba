use std::ffi::OsString;
use std::path::{Path, PathBuf};

use banger_api::vm::{Lifetime, Vm};
use banger_api::{Client, EventStream};
use clap::Args;

use super::delete::by_force;
use super::guest::{self, SessionArgs};
use super::machine::MachineArgs;
use super::workspace::source::{SourceArgs, dry_run};
use super::workspace::summary;
use crate::cmd::operation::{Followed, ProgressArgs, catch_signals, follow};
use crate::cmd::{Outcome, block_on};
use crate::error::CommandError;
use crate::session::{Session, Signals};
use crate::ui::Verbosity;
use crate::{daemon, ui};

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    machine: MachineArgs,
    /// Delete the VM when the command ends, however it ends
    #[arg(long)]
    rm: bool,
    /// Return when the VM is ready, and print its name; with --rm it is deleted when it stops
    #[arg(long, short, conflicts_with_all = ["command", "env", "workdir", "interactive", "no_stdin", "tty", "no_tty"])]
    detach: bool,
    #[command(flatten)]
    session: SessionArgs,
    #[command(flatten)]
    progress: ProgressArgs,
    #[command(flatten)]
    source: SourceArgs,
    /// A directory in a git checkout: its tracked files are copied in, and commands run there
    #[arg(value_name = "PATH")]
    path: Option<PathBuf>,
    /// Program and arguments; a shell when absent
    #[arg(value_name = "CMD", last = true)]
    pub(crate) command: Vec<OsString>,
}

pub(crate) fn run(args: RunArgs) -> Outcome {
    let workspace = match &args.path {
        Some(path) => {
            taken_for_image(path)?;
            Some(args.source.request(path, false)?)
        }
        None if args.source.is_used() => {
            return Err(CommandError::usage("there is no repository to copy")
                .with_hint("name a directory in a git checkout: banger vm run PATH"));
        }
        None => None,
    };
    let verbosity = args.progress.verbosity();
    let lifetime = match (args.rm, args.detach) {
        (true, false) => Lifetime::Leased,
        (true, true) => Lifetime::UntilStopped,
        (false, _) => Lifetime::Kept,
    };
    let mut request = args.machine.request(lifetime, true);
    request.workspace = workspace;
    let mut session = args.session.session(args.command)?;
    block_on(async {
        let client = daemon::connect().await?;
        if let Some(workspace) = request.workspace.as_ref().filter(|_| args.source.dry_run) {
            return dry_run(&client, workspace).await;
        }
        let mut signals = catch_signals()?;
        let mut stream = client.vm_create(&request).await?;
        let vm: Vm = match follow(&client, &mut stream, verbosity, &mut signals).await? {
            Followed::Done(vm) => vm,
            Followed::Interrupted { by, too_late } => {
                if let Some(vm) = too_late {
                    by_force(&client, &vm.id).await?;
                }
                return Err(CommandError::Quiet { exit_code: by.exit_code() });
            }
        };
        if args.detach {
            return ui::line(&vm.spec.name).map(|()| 0);
        }
        if let Some(workspace) = &vm.workspace {
            session.enter(workspace);
        }
        if lifetime == Lifetime::Leased {
            return leased(&client, &vm, stream, session, &mut signals).await;
        }
        let outcome = guest::run(&client, &vm.spec.name, session, &mut signals).await;
        if verbosity != Verbosity::Quiet {
            // Nobody waits for that who wants an end.
            let _caught = signals.unless_caught(say_how_to_go_on(&client, &vm)).await;
        }
        outcome
    })
}

/// Who comes from other tools names an image here.
fn taken_for_image(path: &Path) -> Result<(), CommandError> {
    let missing = path.symlink_metadata().is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound);
    let name = path.to_str().filter(|name| !name.is_empty() && !name.starts_with(['.', '/', '~', '-']));
    match name {
        Some(name) if missing => Err(CommandError::usage(format!(
            "there is no directory {}",
            ui::clean(name)
        ))
        .with_hint(format!("to start from the image of that name: banger run --image {}", ui::clean(name)))),
        _ => Ok(()),
    }
}

/// Runs the session in a VM that is deleted afterwards. Should this process not live to do that, the daemon
/// does when `lease` hangs up.
async fn leased(
    client: &Client,
    vm: &Vm,
    lease: EventStream,
    session: Session,
    signals: &mut Signals,
) -> Outcome {
    let lease = tokio::spawn(hold(lease));
    let outcome = guest::run(client, &vm.spec.name, session, signals).await;
    // Who cannot wait need not: the end of the lease does the same.
    let deleted = signals.unless_caught(by_force(client, &vm.id)).await;
    lease.abort();
    match (outcome, deleted) {
        (Ok(_), Ok(Err(error))) => Err(CommandError::from(error)
            .with_hint(format!("delete it: banger vm delete --force {}", vm.spec.name))),
        (outcome, _) => outcome,
    }
}

/// Takes in what the daemon sends to see whether we are still there.
async fn hold(mut lease: EventStream) {
    while let Ok(Some(_)) = lease.next().await {}
}

async fn say_how_to_go_on(client: &Client, vm: &Vm) {
    let name = &vm.spec.name;
    let Ok(vm) = client.vm(&vm.id).await else { return };
    if vm.vmm_pid.is_some() {
        let changes = match &vm.workspace {
            Some(_) => Some(summary(client, &vm.id).await),
            None => None,
        };
        if let Some(Ok(changes)) = &changes {
            ui::note(changes.as_deref().unwrap_or("no changes in the workspace"));
        }
        ui::note(format_args!("{name} is still running"));
        ui::hint("shell", format_args!("banger exec -it {name}"));
        ui::hint("command", format_args!("banger exec {name} -- CMD"));
        match changes {
            None | Some(Ok(None)) => {}
            Some(Ok(Some(_))) => {
                ui::hint("branch", format_args!("banger vm workspace export {name} --branch NAME"));
            }
            // What is wrong is said by the export.
            Some(Err(_)) => ui::hint("export", format_args!("banger vm workspace export {name}")),
        }
        ui::hint("stop", format_args!("banger vm stop {name}"));
    } else {
        ui::note(format_args!("{name} is {}", vm.state));
        ui::hint("start", format_args!("banger vm start {name}"));
    }
    ui::hint("delete", format_args!("banger vm delete {name}"));
}
