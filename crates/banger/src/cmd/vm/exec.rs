use std::ffi::OsString;

use banger_api::Client;
use banger_api::vm::Vm;
use banger_api::workspace::{PrepareWorkspace, Workspace};
use clap::Args;

use super::guest::{self, SessionArgs};
use crate::cmd::operation::{Followed, catch_signals, follow};
use crate::cmd::{Outcome, block_on};
use crate::daemon;
use crate::error::CommandError;
use crate::session::Signals;
use crate::ui::{self, Verbosity};

#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    #[command(flatten)]
    pub(crate) session: SessionArgs,
    /// Copy the repository anew first when the host's has moved on
    #[arg(long)]
    auto_prepare: bool,
    /// Name, id, or unique beginning of an id
    #[arg(value_name = "REF")]
    vm: String,
    /// Program and arguments; a shell when absent
    #[arg(value_name = "CMD", trailing_var_arg = true)]
    pub(crate) command: Vec<OsString>,
}

pub(crate) fn run(args: ExecArgs) -> Outcome {
    let mut session = args.session.session(args.command)?;
    block_on(async {
        let client = daemon::connect().await?;
        let mut signals = catch_signals()?;
        let vm = signals.or_end(client.vm(&args.vm)).await?;
        if let Some(workspace) = &vm.workspace {
            session.enter(workspace);
            freshen(&client, &vm, workspace, args.auto_prepare, &mut signals).await?;
        }
        guest::run(&client, &args.vm, session, &mut signals).await
    })
}

/// Says when the host's repository has moved on since it was copied, or copies it again.
async fn freshen(
    client: &Client,
    vm: &Vm,
    workspace: &Workspace,
    prepare: bool,
    signals: &mut Signals,
) -> Result<(), CommandError> {
    let staleness = async { Ok::<_, CommandError>(client.workspace_staleness(&vm.id).await) };
    let Ok(staleness) = signals.or_end(staleness).await? else { return Ok(()) };
    let must = prepare && !workspace.complete;
    if !staleness.stale && !must {
        return Ok(());
    }
    if !prepare {
        let short = |commit: &Option<String>| commit.as_deref().map_or("-", |commit| &commit[..7]).to_owned();
        let (old, new) = (short(&staleness.prepared_commit), short(&staleness.host_commit));
        ui::note(format_args!(
            "stale workspace: the repository is at {new} now, the VM has {old}; --auto-prepare copies it anew"
        ));
        return Ok(());
    }
    let request = PrepareWorkspace {
        path: workspace.host_path.clone(),
        mode: workspace.mode,
        include_untracked: workspace.include_untracked,
        guest_path: Some(workspace.guest_path.clone()),
        ..PrepareWorkspace::default()
    };
    let mut stream = client.workspace_prepare(&vm.id, &request).await?;
    match follow::<Vm>(client, &mut stream, Verbosity::Normal, signals).await? {
        Followed::Done(_) => Ok(()),
        Followed::Interrupted { by, .. } => Err(CommandError::Quiet { exit_code: by.exit_code() }),
    }
}
