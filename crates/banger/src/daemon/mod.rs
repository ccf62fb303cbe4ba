//! Reaching bangerd: finding its program, starting it when nobody answers, replacing one of another build.

mod connect;
mod process;
mod program;

pub(crate) use connect::{connect, kill, stop};
pub(crate) use program::{ProgramError, ask};
