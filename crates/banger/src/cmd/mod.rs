//! One file per noun; each turns its arguments into requests, and answers into what a person (or `--json`)
//! sees.

mod artifact;
pub(crate) mod completion;
pub(crate) mod config;
pub(crate) mod daemon;
pub(crate) mod doctor;
pub(crate) mod egress;
mod host_path;
pub(crate) mod image;
pub(crate) mod kernel;
pub(crate) mod lost_found;
mod many;
mod operation;
pub(crate) mod ssh_config;
pub(crate) mod ssh_proxy;
pub(crate) mod version;
pub(crate) mod vm;

use crate::cli::Command;
use crate::error::CommandError;

/// The exit code of a command that worked; one that runs a guest's command ends with that one's.
pub(crate) type Outcome = Result<u8, CommandError>;

pub(crate) fn run(command: Command) -> Outcome {
    match command {
        Command::Vm(command) => vm::run(command),
        Command::Run(args) => vm::run::run(*args),
        Command::Ps(args) => vm::list::run(&args),
        Command::Exec(args) => vm::exec::run(args),
        Command::Ssh(args) => vm::ssh::run(args),
        Command::SshConfig(command) => ssh_config::run(&command),
        Command::SshProxy(args) => ssh_proxy::run(args),
        Command::Cp(args) => vm::cp::run(&args),
        Command::Create(args) => vm::create::run(args),
        Command::Start(args) => vm::start::run(args),
        Command::Stop(args) => vm::stop::run(args),
        Command::Kill(args) => vm::kill::run(args),
        Command::Rm(args) => vm::delete::run(args),
        Command::Show(args) => vm::show::run(args),
        Command::Logs(args) => vm::logs::run(&args),
        Command::Image(command) => image::run(command),
        Command::Kernel(command) => kernel::run(command),
        Command::Egress(command) => egress::run(&command),
        Command::LostFound(command) => lost_found::run(command),
        Command::Daemon(command) => daemon::run(command),
        Command::Doctor(args) => doctor::run(&args),
        Command::Config(command) => config::run(&command),
        Command::Version(args) => version::run(&args),
        Command::Completion(args) => completion::completion(&args),
        Command::Man(args) => completion::man(&args),
    }
}

/// Runs `work` on this thread: a client that waits for one daemon needs no more, and commands that ask nobody
/// need none.
fn block_on<T>(work: impl Future<Output = Result<T, CommandError>>) -> Result<T, CommandError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| CommandError::io("could not set up I/O", error))?.block_on(work)
}
