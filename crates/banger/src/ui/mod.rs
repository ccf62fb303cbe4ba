//! Everything that prints: results on stdout, all else on stderr. Colours only on terminals.

mod error;
mod patch;
mod print;
mod progress;
mod size;
mod stdout;
mod style;
mod table;
mod time;

pub(crate) use banger_api::size::{memory, parse_mib};
pub(crate) use error::print_error;
pub(crate) use patch::Colouring;
pub(crate) use print::{ask, hint, json, line, note, print, raw, say};
pub(crate) use progress::{Progress, Verbosity};
pub(crate) use size::bytes;
pub(crate) use stdout::{finish, is_stdout_missing, survive_file_size_limit};
pub(crate) use style::{BAD, DIM, GOOD, WARN, clean, file_name, paint};
pub(crate) use table::{Fields, Table};
pub(crate) use time::{ago, clock, duration, round_trip};
