//! Virtual machines: one file per verb.

pub(crate) mod cp;
pub(crate) mod create;
pub(crate) mod delete;
mod egress;
pub(crate) mod exec;
mod forward;
mod guest;
mod health;
pub(crate) mod kill;
pub(crate) mod list;
pub(crate) mod logs;
pub(crate) mod machine;
mod ports;
mod refs;
pub(crate) mod run;
pub(crate) mod show;
pub(crate) mod ssh;
pub(crate) mod start;
pub(crate) mod stop;
pub(crate) mod workspace;

use clap::Subcommand;

use super::Outcome;

#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum VmCommand {
    /// Create a VM and run a command or a shell in it
    Run(Box<run::RunArgs>),
    /// Create a VM
    Create(create::CreateArgs),
    /// Start VMs
    Start(start::StartArgs),
    /// Shut VMs down
    Stop(stop::StopArgs),
    /// Kill VMs: their disks look as after a power cut
    Kill(kill::KillArgs),
    /// Delete VMs and everything that belongs to them
    #[command(visible_alias = "rm")]
    Delete(delete::DeleteArgs),
    /// Show VMs in detail
    Show(show::ShowArgs),
    /// List VMs
    #[command(visible_alias = "ls")]
    List(list::ListArgs),
    /// Run a command in a running VM
    Exec(exec::ExecArgs),
    /// Log in to a running VM with ssh
    Ssh(ssh::SshArgs),
    /// Copy files and directories into a running VM, or out of it
    Cp(cp::CpArgs),
    /// A VM's copy of a git repository
    #[command(subcommand)]
    Workspace(workspace::WorkspaceCommand),
    /// Show a VM's console
    Logs(logs::LogsArgs),
    /// Show what a VM contacted and what it was refused, and change what it may reach
    Egress(egress::EgressArgs),
    /// Show what listens in a VM
    Ports(ports::PortsArgs),
    /// Reach ports of a VM from this host, until Ctrl-C
    Forward(forward::ForwardArgs),
    /// Ask a VM's agent how it is
    Health(health::HealthArgs),
}

pub(crate) fn run(command: VmCommand) -> Outcome {
    match command {
        VmCommand::Run(args) => run::run(*args),
        VmCommand::Create(args) => create::run(args),
        VmCommand::Start(args) => start::run(args),
        VmCommand::Stop(args) => stop::run(args),
        VmCommand::Kill(args) => kill::run(args),
        VmCommand::Delete(args) => delete::run(args),
        VmCommand::Show(args) => show::run(args),
        VmCommand::List(args) => list::run(&args),
        VmCommand::Exec(args) => exec::run(args),
        VmCommand::Ssh(args) => ssh::run(args),
        VmCommand::Cp(args) => cp::run(&args),
        VmCommand::Workspace(command) => workspace::run(command),
        VmCommand::Logs(args) => logs::run(&args),
        VmCommand::Egress(args) => egress::run(&args),
        VmCommand::Ports(args) => ports::run(&args),
        VmCommand::Forward(args) => forward::run(args),
        VmCommand::Health(args) => health::run(&args),
    }
}

/// Names in a cell or a field.
pub(super) fn names(names: &[String]) -> String {
    if names.is_empty() { "-".into() } else { names.join(", ") }
}
