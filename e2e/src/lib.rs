//! The rooms for the scenarios in `tests/scenarios`: real programs, real VMs, a home of their own.
//!
//! A [`Home`] is a directory with everything that banger keeps (configuration, state, cache, sockets), and so
//! with a daemon of its own. It begins with a kernel and an image in place, hard-linked from a [`seed`] that
//! banger itself built once. When it is dropped, everything that runs in it is killed and the directory
//! removed, panic or not.
//!
//! A [`StandIn`] is a tarball with the root filesystem of another distribution, or of its shape.
//!
//! An [`OciLayout`] holds container images made by hand, a [`Registry`] hands them out.
//!
//! A [`Repo`] is a git repository on the host, a [`RoundTrip`] its way into a VM and back.
//!
//! A [`World`] is a network of one's own around banger, with servers at addresses of every kind.
//!
//! [`Run`] runs `banger` there, [`Terminal`] does so on a pseudo-terminal. What fails, fails loudly: with the
//! command line and everything it printed.
//!
//! | variable | meaning |
//! |---|---|
//! | `BANGER_E2E_BIN_DIR` | where the programs are; `target/dist` when absent |
//! | `BANGER_E2E_SEED` | a seed to use as it is, instead of one that matches the recipes |
#![allow(clippy::print_stderr, reason = "a failed scenario shows the logs of its home")]

mod home;
mod http;
mod load;
mod mount_namespace;
mod oci_layout;
mod owned;
mod programs;
mod registry;
mod repo;
mod residue;
mod round_trip;
mod run;
pub mod seed;
mod servers;
mod spawn;
mod stand_in;
mod terminal;
mod tree;
mod wait;
mod wire;
mod world;

pub use home::Home;
pub use http::{HttpAnswer, http};
pub use load::BusyCores;
pub use mount_namespace::MountNamespace;
pub use oci_layout::{LayerTar, OciLayer, OciLayout, Packing};
pub use owned::{OwnedProcess, is_alive, owned_by, send};
pub use programs::Programs;
pub use registry::{Access, Registry};
pub use repo::Repo;
pub use round_trip::RoundTrip;
pub use run::{Finished, Run, Running};
pub use seed::Seed;
pub use servers::{LOOPBACK_PORT, Servers};
pub use spawn::tool;
pub use stand_in::{StandIn, busybox};
pub use terminal::Terminal;
pub use tree::Tree;
pub use wait::{eventually, until};
pub use world::World;

/// Says why a scenario was not run. Its name begins with `needs_`, so that nextest shows this.
pub fn skipped(why: &str) {
    eprintln!("skipped: {why}");
}
