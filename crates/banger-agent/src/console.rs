//! Terse lines on the guest's console, where boot problems must be readable.

use std::fmt::Display;
use std::io::Write;

pub use banger_guest_protocol::causes::{causes, on_one_line as one_line};
use rustix::fs::{Mode, OFlags};

/// Prints one line on `/dev/console`.
pub fn say(line: impl Display) {
    // Opened anew each time: a getty hangs up whatever was opened before it came.
    let flags = OFlags::WRONLY | OFlags::NOCTTY | OFlags::CLOEXEC;
    let text = format!("banger-agent: {line}\n");
    let result = match rustix::fs::open("/dev/console", flags, Mode::empty()) {
        Ok(console) => std::fs::File::from(console).write_all(text.as_bytes()),
        Err(_) => std::io::stderr().write_all(text.as_bytes()),
    };
    // There is nowhere left to complain to.
    drop(result);
}
