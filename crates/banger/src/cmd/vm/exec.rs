use std::ffi::OsString;

use clap::Args;

use super::guest::{self, SessionArgs};
use crate::cmd::operation::catch_signals;
use crate::cmd::{Outcome, block_on};
use crate::daemon;

#[derive(Debug, Args)]
pub(crate) struct ExecArgs {
    #[command(flatten)]
    pub(crate) session: SessionArgs,
    /// Name, id, or unique beginning of an id
    #[arg(value_name = "REF")]
    vm: String,
    /// Program and arguments; root's login shell when absent
    #[arg(value_name = "CMD", trailing_var_arg = true)]
    pub(crate) command: Vec<OsString>,
}

pub(crate) fn run(args: ExecArgs) -> Outcome {
    let session = args.session.session(args.command)?;
    block_on(async {
        let client = daemon::connect().await?;
        let mut signals = catch_signals()?;
        guest::run(&client, &args.vm, session, &mut signals).await
    })
}
