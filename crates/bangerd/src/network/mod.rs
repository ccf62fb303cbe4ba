//! The network of VMs in `user` mode: a gateway for each, beside its VMM (the crate `banger-gateway`), and
//! what it wrote down of what the VM contacted.

mod contacts;
mod error;
mod gateway;

pub use contacts::{Contacts, Traffic};
pub use error::NetworkError;
pub use gateway::{Gateway, Gateways, PROGRAM, forget_config, marker};
