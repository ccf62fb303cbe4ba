use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

/// The daemon of banger: owns the user's VMs. `banger` starts it when it is needed.
#[derive(Debug, Parser)]
#[command(name = "bangerd")]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the daemon until it is told to stop
    Serve,
    /// Look whether this host is ready for VMs; needs no running daemon
    Doctor {
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Set a state store aside that cannot be used, and make a new one of what lies beside the disks
        #[arg(long)]
        repair: bool,
    },
    /// Show every configuration value in force and where it comes from
    Config {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// What the user's SSH client is told of VMs; needs no running daemon
    SshConfig { action: SshConfigAction },
    /// Print the description of the daemon's HTTP interface (OpenAPI, JSON)
    Openapi,
    /// Print version and commit
    Version,
    /// Run a few guest instructions on /dev/kvm and print how that went; it may hang
    #[command(hide = true)]
    ProbeKvm,
    /// Write what comes out of pipes into logs, until they close
    #[command(hide = true)]
    VmmLog {
        /// Where the logs lie; nothing else can be written
        #[arg(long)]
        dir: PathBuf,
        /// The descriptor of a pipe, and the name of its log: `3:console.log`
        #[arg(long = "log", value_parser = log)]
        logs: Vec<(RawFd, String)>,
    },
    /// Try what the sandbox of VMs should deny and print what is not; it does no harm
    #[command(hide = true)]
    ProbeSandbox,
    /// Give up all access but what the sandbox allows, then become the VMM
    #[command(hide = true)]
    VmmLaunch {
        /// What the VMM may touch, as JSON
        #[arg(long)]
        sandbox: String,
        program: PathBuf,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SshConfigAction {
    Show,
    Install,
    Uninstall,
}

fn log(word: &str) -> Result<(RawFd, String), String> {
    let (pipe, name) = word.split_once(':').ok_or("a number and a name with a colon between them")?;
    Ok((pipe.parse().map_err(|error: std::num::ParseIntError| error.to_string())?, name.into()))
}
