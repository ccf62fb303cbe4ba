//! The `banger` command line: asks [`bangerd`](banger_api) and shows what it answers.
//!
//! `cmd` has one file per noun (and one per verb of `vm`), `ui` is all that prints, `session` connects a
//! terminal to a command in a guest, `copy` brings files in and out, `daemon` finds and starts bangerd.

mod cli;
mod cmd;
mod copy;
mod daemon;
mod error;
mod session;
mod ui;

use std::ffi::OsString;
use std::process::ExitCode;

use crate::cli::Scope;
use crate::error::CommandError;

fn main() -> ExitCode {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        session::restore_terminal();
        usual(panic);
    }));
    ui::survive_file_size_limit();
    let args: Vec<OsString> = std::env::args_os().collect();
    let scope = Scope::of(&args);
    let outcome = match cli::parse(args) {
        Ok(command) => cmd::run(command),
        Err(usage) => usage.show(scope),
    };
    // What was not written whole did not end well, whatever came of the rest.
    let outcome = outcome.and_then(|code| ui::finish().map(|()| code));
    ExitCode::from(match outcome {
        Ok(code) => code,
        Err(CommandError::Quiet { exit_code }) => exit_code,
        Err(CommandError::Shown(error)) => {
            ui::print_error(&error);
            scope.exit_code(error.code.exit_code())
        }
    })
}
