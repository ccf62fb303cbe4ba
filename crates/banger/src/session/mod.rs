//! A command in a guest, with this process's stdin, stdout, stderr, terminal and signals as its own.

mod converse;
mod output;
mod run;
mod signals;
mod stdin;
mod terminal;

pub(crate) use run::{Outcome, Session};
pub(crate) use signals::{Caught, Signals};
pub(crate) use terminal::{restore as restore_terminal, size as window_size};
