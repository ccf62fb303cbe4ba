//! The scenarios: what banger promises, tried from outside. One module per subject; the rooms are in `src`.
#![allow(clippy::unwrap_used, reason = "scenarios are tests")]

mod api;
mod bad_input;
mod builds;
mod builds_of_banger;
mod disks;
mod leases;
mod lifecycle;
mod listing;
mod load;
mod network;
mod ordinary_user;
mod recovery;
mod streams;
mod systemd;
mod terminals;
mod without_init;
