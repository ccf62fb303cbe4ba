use std::ffi::OsStr;
use std::process::Command;

/// The one place where the harness makes processes.
#[allow(clippy::disallowed_methods, reason = "a scenario is a user: it starts the programs from outside")]
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    Command::new(program)
}

/// Runs a tool of the host to its end; none when it is not there. Answers whether it succeeded, and what it
/// printed.
pub fn tool(argv: &[&str]) -> Option<(bool, String)> {
    let output = command(argv[0]).args(&argv[1..]).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
}
