//! Terse lines on the guest's console, where boot problems must be readable.

use std::error::Error;
use std::fmt::Display;
use std::io::Write;

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

/// An error with all its causes on one line.
pub fn one_line(error: &dyn Error) -> String {
    std::iter::once(error.to_string()).chain(causes(error)).collect::<Vec<_>>().join(": ")
}

/// The causes of an error, outermost first.
pub fn causes(error: &dyn Error) -> Vec<String> {
    let mut texts = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        texts.push(cause.to_string());
        next = cause.source();
    }
    texts
}
