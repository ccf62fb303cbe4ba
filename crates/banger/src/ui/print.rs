use std::io::{ErrorKind, Write as _};

use serde::Serialize;

use super::stdout::is_stdout_missing;
use super::style::{DIM, paint};
use crate::error::{CommandError, OUTPUT_CLOSED};

/// Prints one line of result.
pub(crate) fn line(text: impl std::fmt::Display) -> Result<(), CommandError> {
    print(format_args!("{text}\n"))
}

/// Prints a result that brings its own line ends.
pub(crate) fn print(text: impl std::fmt::Display) -> Result<(), CommandError> {
    see_stdout()?;
    let mut out = anstream::stdout().lock();
    write!(out, "{text}").and_then(|()| out.flush()).map_err(output_error)
}

/// Prints bytes of foreign origin as they are; on a terminal without escape sequences, which could make it
/// lie.
pub(crate) fn raw(bytes: &[u8], filter: &mut anstream::adapter::StripBytes) -> Result<(), CommandError> {
    use std::io::IsTerminal as _;
    see_stdout()?;
    let mut out = std::io::stdout().lock();
    let written = if out.is_terminal() {
        filter.strip_next(bytes).try_for_each(|piece| out.write_all(piece))
    } else {
        out.write_all(bytes)
    };
    written.and_then(|()| out.flush()).map_err(output_error)
}

/// Prints `value` as one JSON document.
pub(crate) fn json(value: &impl Serialize) -> Result<(), CommandError> {
    match serde_json::to_string_pretty(value) {
        Ok(text) => line(text),
        Err(error) => Err(CommandError::io("could not write the result as JSON", error)),
    }
}

/// Says something on stderr that is worth a line of its own.
pub(crate) fn note(text: impl std::fmt::Display) {
    let mut err = anstream::stderr().lock();
    // Nobody is there to tell when stderr fails, and a note is no result.
    let _ = writeln!(err, "{} {text}", paint(DIM, "note:"));
}

/// Says a line on stderr as it is.
pub(crate) fn say(text: impl std::fmt::Display) {
    let mut err = anstream::stderr().lock();
    // As for a note.
    let _ = writeln!(err, "{text}");
}

/// Asks a question on stderr, whose answer goes on the same line.
pub(crate) fn ask(question: &str) {
    let mut err = anstream::stderr().lock();
    // As for a note: who sees no question gives no answer.
    let _ = write!(err, "{question}").and_then(|()| err.flush());
}

/// Says below a note which command does what.
pub(crate) fn hint(does: &str, command: impl std::fmt::Display) {
    let mut err = anstream::stderr().lock();
    // As for a note.
    let _ = writeln!(err, "  {} {command}", paint(DIM, format_args!("{:9}", format!("{does}:"))));
}

/// The standard library would take what is written to a closed stdout for written.
fn see_stdout() -> Result<(), CommandError> {
    if is_stdout_missing() { Err(output_error(rustix::io::Errno::BADF.into())) } else { Ok(()) }
}

/// A reader that has seen enough (`| head`) is no error to talk about.
pub(super) fn output_error(error: std::io::Error) -> CommandError {
    match error.kind() {
        ErrorKind::BrokenPipe => CommandError::Quiet { exit_code: OUTPUT_CLOSED },
        _ => CommandError::io("could not write to stdout", error),
    }
}
