//! Pulls from servers on the loopback interface: from Debian's `docker-registry`, and from one that does what
//! a script tells it, good or bad.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests too")]

mod bench;
mod blobs;
mod files;
mod images;
mod login;
mod manifests;
mod proxies;
mod real;
mod real_registry;
mod server;
mod store;
