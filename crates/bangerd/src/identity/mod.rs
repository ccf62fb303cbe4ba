//! Names and ids: what every other part of the daemon calls a VM by.

mod id;
mod name;

pub(crate) use id::fill_random;

pub use id::VmId;
pub use name::{VmName, VmNameError};
