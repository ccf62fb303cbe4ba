use banger_api::ports::{ForwardEvent, ForwardPorts, PortForward};
use banger_api::{Client, ErrorCode};
use clap::Args;

use crate::cmd::operation::catch_signals;
use crate::cmd::{Outcome, block_on};
use crate::error::CommandError;
use crate::{daemon, ui};

#[derive(Debug, Args)]
#[command(after_help = "\
LOCAL is the port on this host and GUEST the one in the VM; GUEST alone is the same port on both sides, and 0 for LOCAL \
any that is free. Only this host reaches it, unless ADDR says otherwise ([ADDR:]LOCAL:GUEST, an IPv6 address in brackets). \
With --auto, ports appear at the VM's own loopback address while something listens on them in the VM; a port that cannot be \
had there (those below 1024 need a privilege) is found 10000 above it: 80 at 10080. To have ports forwarded whenever the VM \
runs: banger run -p LOCAL:GUEST, or --auto.")]
pub(crate) struct ForwardArgs {
    /// Name, id, or unique beginning of an id
    #[arg(value_name = "REF")]
    vm: String,
    /// Ports to forward
    #[arg(value_name = "[ADDR:]LOCAL:GUEST", required_unless_present = "auto")]
    ports: Vec<PortForward>,
    /// Forward every TCP port that something listens on in the VM, while it does
    #[arg(long)]
    auto: bool,
}

pub(crate) fn run(args: ForwardArgs) -> Outcome {
    let what = ForwardPorts { ports: args.ports, auto: args.auto };
    block_on(async {
        let client = daemon::connect().await?;
        let mut signals = catch_signals()?;
        let mut events = client.vm_forward(&args.vm, &what).await?;
        for forward in what.ports.iter().filter(|forward| !forward.address.is_loopback()) {
            ui::note(format_args!("port {} of the VM can be reached from other machines", forward.guest));
        }
        loop {
            let event = match signals.unless_caught(events.next()).await {
                Ok(event) => event?,
                Err(by) => return Err(CommandError::Quiet { exit_code: by.exit_code() }),
            };
            match event {
                Some(event) => show(&args.vm, event)?,
                None => return Err(gone(&client).await),
            }
        }
    })
}

/// # Errors
///
/// When it is the last event, or stdout does not take it.
fn show(vm: &str, event: ForwardEvent) -> Result<(), CommandError> {
    match event {
        ForwardEvent::Listening { address, port } => {
            ui::line(format_args!("{address} -> {}:{port}", ui::clean(vm)))
        }
        ForwardEvent::Closed { address, port } => {
            ui::line(format_args!("{address} closed: nothing listens on port {port} any more"))
        }
        ForwardEvent::Refused { port, why } => {
            ui::note(format_args!("a connection to port {port} was closed: {}", ui::file_name(why)));
            Ok(())
        }
        ForwardEvent::Ended { why } => {
            Err(CommandError::new(ErrorCode::Failed, "the forwards ended with the VM's run")
                .with_cause(ui::file_name(why)))
        }
    }
}

async fn gone(client: &Client) -> CommandError {
    let error = CommandError::new(ErrorCode::Failed, "bangerd ended the forwards");
    match client.daemon_status().await {
        Ok(_) => error.with_cause("it was restarted"),
        Err(_) => error.with_cause("it is not running any more"),
    }
    .with_hint("run the command again; ports of `banger run -p` come back by themselves")
}
