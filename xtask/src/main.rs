//! Repository chores, run as `cargo xtask <chore>`.
//!
//! Its tests hold the rules that no compiler checks: the dependency arrows between the crates (`arrows`), the
//! rooms inside `bangerd` (`rooms`), the size and names of source files (`sources`), the failures that nobody
//! hears of (`swallowed`), and the tests that docs/review.md names (`claims`).
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a developer's tool: printing is what it is for"
)]

#[cfg(test)]
mod arrows;
mod cargo;
#[cfg(test)]
mod claims;
mod dist;
mod elf;
#[cfg(test)]
mod rooms;
#[cfg(test)]
mod sources;
#[cfg(test)]
mod swallowed;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask dist [--debug]

  dist     build banger, bangerd, banger-gateway and the static banger-agent, and put them beside each other into target/dist
  --debug  build the host's programs without optimisation";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let profile = match arguments.as_slice() {
        ["dist"] => dist::HostProfile::Release,
        ["dist", "--debug"] => dist::HostProfile::Dev,
        ["help" | "--help" | "-h"] => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match dist::build(profile) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error and what caused it, on one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// The workspace's root directory.
fn workspace_dir() -> PathBuf {
    let mut dir = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    dir.pop();
    dir
}
