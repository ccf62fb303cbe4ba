use std::io::{ErrorKind, IsTerminal as _, Write as _};
use std::process::{Child, Command, Stdio};

use crate::error::CommandError;
use crate::ui;

/// What git gives `less` unless the user has a say: quit when it fits on a screen, pass colours on, leave the
/// screen alone.
const LESS: &str = "FRX";

/// The user's pager on a terminal, else plain stdout.
pub(super) enum Pager {
    Program(Child),
    Plain,
}

impl Pager {
    /// Starts the pager that git would use: `GIT_PAGER`, `PAGER`, `less`. None of them is as good as `cat`.
    ///
    /// # Errors
    ///
    /// When a pager that was asked for cannot be started.
    pub(super) fn start() -> Result<Self, CommandError> {
        if !std::io::stdout().is_terminal() {
            return Ok(Self::Plain);
        }
        let chosen = ["GIT_PAGER", "PAGER"].iter().find_map(std::env::var_os);
        let wanted = chosen.clone().unwrap_or_else(|| "less".into());
        if wanted.is_empty() || wanted == "cat" {
            return Ok(Self::Plain);
        }
        // As git does: the user's words may have arguments and quotes.
        #[allow(clippy::disallowed_methods, reason = "the user's own pager, in the user's own words")]
        let mut command = Command::new("sh");
        command.arg("-c").arg(&wanted).stdin(Stdio::piped());
        if std::env::var_os("LESS").is_none() {
            command.env("LESS", LESS);
        }
        match command.spawn() {
            Ok(child) => Ok(Self::Program(child)),
            Err(_) if chosen.is_none() => Ok(Self::Plain),
            Err(error) => {
                Err(CommandError::io(format!("could not start the pager {}", wanted.display()), error))
            }
        }
    }

    /// Shows more; false when nobody wants to see more.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub(super) fn write(&mut self, text: &str) -> Result<bool, CommandError> {
        match self {
            Self::Plain => ui::print(text).map(|()| true),
            Self::Program(child) => {
                let Some(pipe) = &mut child.stdin else { return Ok(false) };
                match pipe.write_all(text.as_bytes()) {
                    Ok(()) => Ok(true),
                    Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
                    Err(error) => Err(CommandError::io("could not write to the pager", error)),
                }
            }
        }
    }

    /// Waits until the user has seen enough.
    pub(super) fn finish(self) {
        if let Self::Program(mut child) = self {
            drop(child.stdin.take());
            // How it ended is between the user and the pager.
            let _ = child.wait();
        }
    }
}
