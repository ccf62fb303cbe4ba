//! Times banger against bare QEMU, on this machine, in one run.
//!
//! It drives the programs in `target/dist` in a home of its own, `$XDG_CACHE_HOME/banger-bench`, which keeps
//! the kernel and the image between runs and can be removed at any time.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a developer's tool: printing is what it is for"
)]

mod args;
mod bare;
mod boot;
mod boots;
mod error;
mod home;
mod load;
mod memory;
mod noise;
mod numbers;
mod pull;
mod repository;
mod responsiveness;
mod soak;
mod store;
mod throughput;
mod workspace;

use std::process::ExitCode;

use args::{Args, Subject};
use clap::Parser as _;
use error::BenchError;
use home::Home;

fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            for cause in banger_guest_protocol::causes::causes(&error) {
                eprintln!("  because: {cause}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), BenchError> {
    let home = Home::open(args.image())?;
    match args.subject {
        Subject::Boot => boot::measure(&home, args.rounds),
        Subject::Boots => boots::measure(&home, args.count, args.load),
        Subject::Throughput => throughput::measure(&home, args.rounds),
        Subject::Pull => pull::measure(&home, args.rounds),
        Subject::Workspace => workspace::measure(&home, args.rounds),
        Subject::Responsiveness => responsiveness::measure(&home, args.files),
        Subject::Soak => soak::measure(&home, args.minutes, args.kill),
        Subject::Memory => memory::measure(&home),
        Subject::All => {
            boot::measure(&home, args.rounds)?;
            throughput::measure(&home, args.rounds.min(3))?;
            memory::measure(&home)
        }
    }
}
