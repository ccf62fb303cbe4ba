//! Everything that prints: results on stdout, all else on stderr. Colours only on terminals.

mod error;
mod print;
mod progress;
mod size;
mod style;
mod table;
mod time;

pub(crate) use error::print_error;
pub(crate) use print::{hint, json, line, note, print, raw};
pub(crate) use progress::{Progress, Verbosity};
pub(crate) use size::{bytes, memory, parse_mib};
pub(crate) use style::{BAD, DIM, GOOD, WARN, clean, paint};
pub(crate) use table::{Fields, Table};
pub(crate) use time::{ago, clock, duration, round_trip};
