//! Errors for logs and for those who read one line.

pub(crate) use banger_guest_protocol::causes::{chain, on_one_line};
