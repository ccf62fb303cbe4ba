//! The command tree, and how a command line becomes one of its commands.

use std::ffi::{OsStr, OsString};

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use crate::cmd::{
    Outcome, completion, config, daemon, doctor, egress, image, kernel, lost_found, ssh_config, ssh_proxy,
    version, vm,
};
use crate::error::SESSION_FAILED;
use crate::ui;

/// Disposable Linux microVMs.
#[derive(Debug, Parser)]
#[command(name = "banger", version, subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

// Deferred, as are the others: to make the arguments of all commands takes a third of the time that a short
// command takes.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum Command {
    /// Virtual machines
    #[command(subcommand)]
    Vm(vm::VmCommand),
    /// Create a VM and run a command or a shell in it (short for `vm run`)
    Run(Box<vm::run::RunArgs>),
    /// List VMs (short for `vm list`)
    Ps(vm::list::ListArgs),
    /// Run a command in a running VM (short for `vm exec`)
    Exec(vm::exec::ExecArgs),
    /// Log in to a running VM with ssh (short for `vm ssh`)
    Ssh(vm::ssh::SshArgs),
    /// Copy files into a running VM, or out of it (short for `vm cp`)
    Cp(vm::cp::CpArgs),
    /// Create a VM (short for `vm create`)
    Create(vm::create::CreateArgs),
    /// Start VMs (short for `vm start`)
    Start(vm::start::StartArgs),
    /// Shut VMs down (short for `vm stop`)
    Stop(vm::stop::StopArgs),
    /// Kill VMs: their disks look as after a power cut (short for `vm kill`)
    Kill(vm::kill::KillArgs),
    /// Delete VMs and everything that belongs to them (short for `vm delete`)
    #[command(alias = "delete")]
    Rm(vm::delete::DeleteArgs),
    /// Show VMs in detail (short for `vm show`)
    Show(vm::show::ShowArgs),
    /// Show a VM's console (short for `vm logs`)
    Logs(vm::logs::LogsArgs),
    /// Images: the root filesystems that VMs start from
    #[command(subcommand)]
    Image(image::ImageCommand),
    /// Kernels that VMs boot
    #[command(subcommand)]
    Kernel(kernel::KernelCommand),
    /// What VMs may reach
    #[command(subcommand)]
    Egress(egress::EgressCommand),
    /// The daemon that owns the VMs; other commands start it when they need it
    #[command(subcommand)]
    Daemon(daemon::DaemonCommand),
    /// What lay among banger's files and nothing explains
    #[command(subcommand)]
    LostFound(lost_found::LostFoundCommand),
    /// Let ssh, scp, git and editors reach VMs as root@NAME.vm
    #[command(subcommand)]
    SshConfig(ssh_config::SshConfigCommand),
    /// Carry ssh's connection to a VM, on stdin and stdout
    #[command(hide = true)]
    SshProxy(ssh_proxy::SshProxyArgs),
    /// Check whether this host has what VMs need
    Doctor(doctor::DoctorArgs),
    /// Configuration
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Show the version
    Version(version::VersionArgs),
    /// Print a completion script: source it in your shell's start-up file
    Completion(completion::CompletionArgs),
    /// Write manual pages
    #[command(hide = true)]
    Man(completion::ManArgs),
}

/// Whose exit code a command line ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// banger's own table of codes.
    Banger,
    /// The code of the command in the guest; banger's own failures have one code that few commands use.
    Guest,
}

impl Scope {
    /// Told from the words alone, for a command line that cannot be parsed has a scope as well.
    pub(crate) fn of(args: &[OsString]) -> Self {
        let mut words = args.iter().skip(1).take_while(|word| *word != "--").filter(|word| !is_flag(word));
        match words.next().and_then(|word| word.to_str()) {
            Some("run" | "exec" | "ssh") => Self::Guest,
            Some("vm")
                if words.next().is_some_and(|verb| verb == "run" || verb == "exec" || verb == "ssh") =>
            {
                Self::Guest
            }
            _ => Self::Banger,
        }
    }

    pub(crate) fn exit_code(self, code: u8) -> u8 {
        match self {
            Self::Banger => code,
            Self::Guest => SESSION_FAILED,
        }
    }
}

/// A command line that is no command: an error, or a question for help.
pub(crate) struct Usage(clap::Error);

impl Usage {
    /// Prints it and answers the exit code.
    ///
    /// # Errors
    ///
    /// When stdout does not take the help that was asked for.
    pub(crate) fn show(&self, scope: Scope) -> Outcome {
        if self.0.use_stderr() {
            // Where stderr fails, the exit code has to tell it alone.
            let _ = self.0.print();
            return Ok(scope.exit_code(2));
        }
        ui::print(self.0.render().ansi()).map(|()| 0)
    }
}

/// # Errors
///
/// When it is no command of ours, or asks for help.
pub(crate) fn parse(args: Vec<OsString>) -> Result<Command, Usage> {
    let mut tree = Cli::command();
    if asks_for_sizes(&args) {
        tree = vm::machine::with_defaults(tree);
    }
    let matches = tree.try_get_matches_from_mut(args).map_err(Usage)?;
    Cli::from_arg_matches(&matches).map(|cli| cli.command).map_err(|error| Usage(error.format(&mut tree)))
}

/// Is it the help of a command that shows the host's defaults? They take a run of bangerd to find out.
fn asks_for_sizes(args: &[OsString]) -> bool {
    let mut words = args.iter().skip(1).take_while(|word| *word != "--");
    let help = words.clone().any(|word| word == "--help" || word == "-h" || word == "help");
    help && words.any(|word| word == "run" || word == "create")
}

fn is_flag(word: &OsStr) -> bool {
    word.as_encoded_bytes().starts_with(b"-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Vec<OsString> {
        text.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn the_tree_is_sound() {
        Cli::command().debug_assert();
    }

    /// A doc comment on a struct of arguments would take the place of what the command says of itself, and
    /// only where it is built: not in the list of commands above it.
    #[test]
    fn commands_say_of_themselves_what_the_list_of_commands_says() {
        fn compare(listed: &clap::Command, built: &clap::Command) {
            let about = |command: &clap::Command| command.get_about().map(ToString::to_string);
            assert_eq!(about(listed), about(built), "{}", built.get_name());
            for listed in listed.get_subcommands() {
                compare(listed, built.find_subcommand(listed.get_name()).unwrap());
            }
        }
        let mut built = Cli::command();
        built.build();
        compare(&Cli::command(), &built);
    }

    #[test]
    fn scopes_are_told_from_words() {
        for guest in
            ["banger run", "banger vm run --bad", "banger exec x -- ls", "banger vm exec", "banger ssh x"]
        {
            assert_eq!(Scope::of(&line(guest)), Scope::Guest, "{guest}");
        }
        for own in [
            "banger",
            "banger vm",
            "banger vm list",
            "banger ps run",
            "banger image show run",
            "banger stop run",
            "banger rm exec",
            "banger vm -- run",
        ] {
            assert_eq!(Scope::of(&line(own)), Scope::Banger, "{own}");
        }
    }

    #[test]
    fn aliases_take_what_the_full_commands_take() {
        let mut tree = Cli::command();
        tree.build();
        let vm = tree.find_subcommand("vm").unwrap();
        let same = ["run", "exec", "ssh", "cp", "create", "start", "stop", "kill", "show", "logs"]
            .map(|verb| (verb, verb));
        for (alias, verb) in same.into_iter().chain([("ps", "list"), ("rm", "delete"), ("delete", "delete")])
        {
            let ids = |command: &clap::Command| -> Vec<String> {
                command.get_arguments().map(|arg| arg.get_id().to_string()).collect()
            };
            assert_eq!(ids(tree.find_subcommand(alias).unwrap()), ids(vm.find_subcommand(verb).unwrap()));
        }
    }

    #[test]
    fn what_comes_after_the_first_word_belongs_to_the_command() {
        for text in [
            "banger exec -it x -- sh -c -x --",
            "banger exec x -it -- sh -c -x --",
            "banger exec -it x sh -c -x --",
        ] {
            let Ok(Command::Exec(args)) = parse(line(text)) else { panic!("{text}") };
            assert_eq!(args.command, ["sh", "-c", "-x", "--"], "{text}");
            assert!(args.session.tty && args.session.interactive, "{text}");
        }
    }

    #[test]
    fn arguments_need_not_be_text() {
        use std::os::unix::ffi::OsStringExt as _;
        let odd = OsString::from_vec(vec![b'a', 0xFF, 0xFE]);
        let mut args = line("banger run -- printf");
        args.push(odd.clone());
        let Ok(Command::Run(run)) = parse(args) else { panic!("refused") };
        assert_eq!(run.command[1], odd);
    }
}
