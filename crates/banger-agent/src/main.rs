//! The guest's `/init`: see the library for what it does.

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::process::id() == 1 {
        banger_agent::init::run();
    }
    if std::env::args_os().nth(1).is_some_and(|arg| arg == banger_agent::SERVE_ARGUMENT) {
        banger_agent::server::run();
    }
    banger_agent::console::say("this program is the /init of a banger virtual machine and does nothing else");
    ExitCode::from(2)
}
