use std::ffi::OsString;

use banger_api::stream::ExecSpec;
use banger_api::{ApiError, ErrorCode};
use clap::Args;

use super::{Outcome, block_on};
use crate::daemon;
use crate::error::CommandError;
use crate::session::{self, Session, Signals};

#[derive(Debug, Args)]
pub(crate) struct SshProxyArgs {
    /// Name or id of a VM, with or without `.vm` behind it
    #[arg(value_name = "NAME")]
    vm: OsString,
}

/// What ssh starts instead of opening a socket. It ends when either side does; whatever ends it ends the SSH
/// server in the guest as well.
pub(crate) fn run(args: SshProxyArgs) -> Outcome {
    let Some(vm) = args.vm.to_str().map(vm_of_host) else {
        return Err(CommandError::usage(format!("{} is no name of a VM", args.vm.display())));
    };
    block_on(async {
        let client = daemon::connect().await?;
        let stream = client.vm_ssh(&vm).await?;
        // The agent names the program. What that says on stderr is all the guest can show here.
        let session = Session { spec: ExecSpec::default(), stdin: true, plain_stderr: true };
        match session.run(stream, &mut Signals::left_alone()).await {
            Ok(session::Outcome::Exited(exit)) => match exit.error {
                Some(why) => {
                    Err(CommandError::new(ErrorCode::Failed, format!("the SSH server of {vm} did not start"))
                        .with_cause(why))
                }
                // ssh has heard all that matters over the connection.
                None => Ok(0),
            },
            Ok(session::Outcome::OutputClosed) => Ok(0),
            Ok(session::Outcome::Interrupted(caught)) => Ok(caught.exit_code()),
            Err(error) => Err(ApiError::from_error(ErrorCode::Failed, &error).into()),
        }
    })
}

/// ssh passes on what was typed, and compares names without case.
fn vm_of_host(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    host.strip_suffix(".vm").unwrap_or(&host).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_vm_with_or_without_its_suffix() {
        for (host, vm) in
            [("a.vm", "a"), ("A.VM", "a"), ("a", "a"), ("vm", "vm"), (".vm", ""), ("a.b.vm", "a.b")]
        {
            assert_eq!(vm_of_host(host), vm);
        }
    }
}
