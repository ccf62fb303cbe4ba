//! What a guest may reach: the egress policy of a VM, as text and as judgements. No I/O.
//!
//! A [`Policy`] is what a user writes (`internet`, or `github.com,*.debian.org,host:11434,@npm`). It has a
//! base (`internet`, `learn`, `all`, or none of them: a list), entries that allow, and entries that deny. The
//! gateway asks it three times on the way of a connection:
//!
//! 1. [`Policy::lookup`], when the guest looks a name up;
//! 2. [`Policy::by_name`] or [`Policy::by_address`], when it connects;
//! 3. [`Reach::permits`], for each address that the host's resolver gave for the name.
//!
//! The answer to the second also says what the first bytes of the connection must agree with ([`Agreement`]);
//! `crate::check` reads them. Each answer names the rule that decided, or is a [`Refusal`]: a sentence for
//! people and a code for the log.
//!
//! Two rules hold whatever a policy says. Loopback, link-local, multicast, metadata, reserved and synthetic
//! addresses are never reached (see [`AddressKind`]). And an address that carries an IPv4 address inside is
//! judged by that.

mod address;
mod edit;
mod entry;
mod entry_text;
mod error;
mod judge;
mod name;
mod refusal;
mod sets;
mod text;

#[cfg(test)]
mod edit_tests;
#[cfg(test)]
mod judge_tests;
#[cfg(test)]
mod text_tests;

pub use address::{AddressKind, Unreachable};
pub use edit::{Contact, Edited};
pub use entry::{Agreement, Entry};
pub use error::{EntryProblem, PolicyError};
pub use judge::{ByAddress, ByName, Destination, Reach, Transport};
pub use name::{Name, NameProblem};
pub use refusal::{Refusal, RefusalCode};
pub use sets::{Set, sets};
pub use text::Policy;
