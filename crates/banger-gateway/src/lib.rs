//! The host's end of a VM's network: what the guest may reach, by name, and the log of what it did.

pub mod check;
pub mod policy;
