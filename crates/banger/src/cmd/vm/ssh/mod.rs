//! `vm ssh`: the system's ssh, told of the VM and of nothing else (docs/decisions/0031).

pub(crate) mod client;

use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::path::PathBuf;

use banger_api::vm::{Vm, VmState};
use banger_api::{ApiError, Client, ErrorCode};
use clap::Args;

use self::client::{SshClient, exit_code};
use crate::cmd::operation::catch_signals;
use crate::cmd::{Outcome, block_on};
use crate::error::CommandError;
use crate::session::Signals;
use crate::{daemon, ui};

/// What ssh ends with when it failed itself, and when the command did.
const SSH_FAILED: u8 = 255;

#[derive(Debug, Args)]
pub(crate) struct SshArgs {
    /// Log in as this user of the guest's
    #[arg(long, short = 'l', value_name = "USER", default_value = "root")]
    user: String,
    /// Lend the guest your SSH agent while you are in: root there can use your keys through it, to sign
    /// commits as well
    #[arg(long, short = 'A')]
    forward_agent: bool,
    /// Give the command a terminal (a shell has one if we do)
    #[arg(long, short)]
    tty: bool,
    /// Set an option of ssh_config(5); it wins over banger's own
    #[arg(long = "option", short = 'o', value_name = "KEY=VALUE")]
    options: Vec<OsString>,
    /// Name, id, or unique beginning of an id
    #[arg(value_name = "REF")]
    vm: String,
    /// A command for the user's shell in the guest: ssh puts its words together with spaces, so quote what
    /// that shell must not take apart; an interactive shell when absent
    #[arg(value_name = "CMD", trailing_var_arg = true)]
    pub(crate) command: Vec<OsString>,
}

pub(crate) fn run(args: SshArgs) -> Outcome {
    if args.forward_agent {
        insist_on_agent()?;
    }
    let interactive = args.command.is_empty() && std::io::stdin().is_terminal();
    block_on(async {
        let client = daemon::connect().await?;
        let mut signals = catch_signals()?;
        let vm = signals.or_end(client.vm(&args.vm)).await?;
        // What is wrong in the guest is better said by us than by ssh. The server would start with the first
        // byte, so that none is left behind.
        drop(signals.or_end(client.vm_ssh(&vm.id)).await?);
        let mut ssh = base(&client, &vm, &args);
        if args.forward_agent {
            ssh = ssh.lend_agent();
        }
        if args.tty {
            ssh = ssh.arg("-t");
        }
        ssh = ssh.arg("--").arg(host(&vm));
        for word in &args.command {
            ssh = ssh.arg(word);
        }
        let code = exit_code(ssh.run(&mut signals).await?);
        if code == SSH_FAILED {
            return explain(&client, &vm, &args, &mut signals).await;
        }
        if interactive {
            // Nobody waits for that who wants an end.
            let _caught = signals.unless_caught(remind(&client, &vm)).await;
        }
        Ok(code)
    })
}

fn insist_on_agent() -> Result<(), CommandError> {
    match std::env::var_os("SSH_AUTH_SOCK") {
        Some(socket) if !socket.is_empty() => Ok(()),
        _ => Err(CommandError::usage("there is no SSH agent to lend: SSH_AUTH_SOCK is not set")
            .with_hint("start one: eval \"$(ssh-agent)\" && ssh-add")),
    }
}

fn host(vm: &Vm) -> String {
    format!("{}.vm", vm.spec.name)
}

fn config(client: &Client) -> PathBuf {
    client.state().join("ssh/config")
}

fn base(client: &Client, vm: &Vm, args: &SshArgs) -> SshClient {
    options(SshClient::with_config(&config(client)), vm, args)
}

/// What every call for this VM has. Its host key is known by its id as well, whatever it is called by now.
fn options(mut ssh: SshClient, vm: &Vm, args: &SshArgs) -> SshClient {
    for option in &args.options {
        ssh = ssh.option(option);
    }
    ssh.option(format!("HostKeyAlias={}.vm", vm.id)).arg("-l").arg(&args.user)
}

/// Tells a command's own 255 from a failure of ssh's. The connection is tried again for that: what ssh says
/// is for people, and its code is the same.
async fn explain(client: &Client, vm: &Vm, args: &SshArgs, signals: &mut Signals) -> Outcome {
    let name = &vm.spec.name;
    let now = signals.or_end(client.vm(&vm.id)).await;
    if let Ok(Vm { state, last_error, .. }) = &now
        && *state != VmState::Running
    {
        let why = last_error.clone().unwrap_or_else(|| format!("it is {state}"));
        return Err(ApiError::new(ErrorCode::Failed, "the VM stopped while ssh was connected")
            .because(why)
            .into());
    }
    now?;
    let login = |ssh: SshClient| ssh.option("BatchMode=yes").option("ConnectTimeout=15").quiet();
    let probe = |ssh: SshClient| login(ssh).arg("-n").arg("-T").arg("--").arg(host(vm)).arg("true");
    let pinned = probe(base(client, vm, args));
    if pinned.run(signals).await?.success() {
        ui::note("ssh ended with 255: that is the command's own code, or its connection broke");
        return Ok(SSH_FAILED);
    }
    let mut trusting = SshClient::with_config(&config(client));
    for option in
        ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "HostKeyAlgorithms=+ssh-ed25519"]
    {
        trusting = trusting.option(option);
    }
    if probe(options(trusting, vm, args)).run(signals).await?.success() {
        return Err(another_host_key(name));
    }
    Err(CommandError::new(
        ErrorCode::Failed,
        format!("ssh could not log in to {name}; what it said is above"),
    )
    .with_hint(format!(
        "`banger exec {name}` works without ssh; the guest's last words: banger vm logs {name}"
    )))
}

fn another_host_key(name: &str) -> CommandError {
    let message = format!("{name} has another SSH host key than the one made for it");
    CommandError::new(ErrorCode::Failed, message)
        .with_cause(
            "banger makes the key and hands it to the guest at each start: something in the guest has replaced its SSH server, and could read along",
        )
        .with_hint(format!(
            "look at it without that server: banger exec -it {name}\nor give the VM up: banger delete {name}"
        ))
}

/// The session is over, the VM is not.
async fn remind(client: &Client, vm: &Vm) {
    let Ok(vm) = client.vm(&vm.id).await else { return };
    if vm.state == VmState::Running {
        let name = &vm.spec.name;
        ui::note(format_args!("{name} is still running"));
        ui::hint("stop", format_args!("banger vm stop {name}"));
        ui::hint("delete", format_args!("banger vm delete {name}"));
    }
}
