//! The real `banger` against a daemon that is not: one that lives in memory, or a script in bangerd's place.

#![allow(clippy::unwrap_used, reason = "a helper of a test that cannot go on fails it")]

mod commands;
mod fake;
mod program;
mod start;
mod streams;
