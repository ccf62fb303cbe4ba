//! The one place that starts another process.

use std::io;
use std::process::{Command, ExitStatus};

use thiserror::Error;

#[derive(Debug, Error)]
pub(crate) enum CargoError {
    #[error("cannot start `{command}`")]
    Start { command: String, source: io::Error },
    #[error("`{command}` failed: {status}")]
    Failed { command: String, status: ExitStatus },
}

/// The variables that `cargo run` sets for its program.
const OF_THIS_PACKAGE: [&str; 4] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"];

/// A call of the cargo that started us, in the workspace's root.
pub(crate) struct Cargo {
    command: Command,
}

impl Cargo {
    #[allow(
        clippy::disallowed_methods,
        reason = "banger-host is for the daemon; a chore calls cargo and nothing else"
    )]
    pub(crate) fn new(arguments: &[&str]) -> Self {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(arguments).current_dir(crate::workspace_dir());
        // What cargo tells us of ourselves is not for other packages: ring, and all above it, is built anew
        // when it changes. A name that is no UTF-8 is none of cargo's.
        for name in std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()) {
            if OF_THIS_PACKAGE.iter().any(|prefix| name.starts_with(prefix)) {
                command.env_remove(name);
            }
        }
        Cargo { command }
    }

    pub(crate) fn with(mut self, arguments: &[&str]) -> Self {
        self.command.args(arguments);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Runs it with our own stdout and stderr.
    pub(crate) fn run(mut self) -> Result<(), CargoError> {
        let status = self.command.status().map_err(|source| self.start_error(source))?;
        self.success(status)
    }

    /// Runs it and returns what it wrote to stdout.
    #[cfg(test)]
    pub(crate) fn stdout(mut self) -> Result<Vec<u8>, CargoError> {
        let output = self
            .command
            .stderr(std::process::Stdio::inherit())
            .output()
            .map_err(|source| self.start_error(source))?;
        self.success(output.status)?;
        Ok(output.stdout)
    }

    fn success(&self, status: ExitStatus) -> Result<(), CargoError> {
        if status.success() { Ok(()) } else { Err(CargoError::Failed { command: self.line(), status }) }
    }

    fn start_error(&self, source: io::Error) -> CargoError {
        CargoError::Start { command: self.line(), source }
    }

    fn line(&self) -> String {
        let mut line = String::from("cargo");
        for argument in self.command.get_args() {
            line.push(' ');
            line.push_str(&argument.to_string_lossy());
        }
        line
    }
}
