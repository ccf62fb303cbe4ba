//! Ports of the host that lead to ports of a guest.
//!
//! The daemon listens, for everybody: for `vm forward` as long as its client reads the answer, for
//! `run --publish` and `--auto` as long as the VM runs (docs/decisions/0032). Each connection is one stream
//! to the guest's agent, which connects inside: the guest needs no network.
//!
//! [`HostPorts`] is who listens where, of all VMs. [`Forwards`] is what there is of one VM that runs; it ends
//! with it, and with it every listener and every connection.

mod auto;
mod choice;
mod forwards;
mod host_ports;
mod listener;
mod report;

pub use forwards::Forwards;
pub use forwards::Session;
pub(super) use host_ports::Bound;
pub use host_ports::{ForwardError, HostPorts};
pub use report::report;
