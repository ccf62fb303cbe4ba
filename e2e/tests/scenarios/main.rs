//! The scenarios: what banger promises, tried from outside. One module per subject; the rooms are in `src`.
#![allow(clippy::unwrap_used, reason = "scenarios are tests")]

mod api;
mod archives;
mod bad_input;
mod builds;
mod builds_of_banger;
mod copies;
mod disks;
mod docker;
mod file_sync;
mod foreign_images;
mod image_config;
mod images;
mod kernels;
mod leases;
mod lifecycle;
mod listing;
mod load;
mod network;
mod ordinary_user;
mod recovery;
mod registry;
mod streams;
mod systemd;
mod terminals;
mod without_init;
mod workspace_bad_input;
mod workspace_cut_off;
mod workspace_lying_guest;
mod workspace_privacy;
mod workspace_risk;
mod workspace_round_trip;
