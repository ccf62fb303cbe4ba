//! Copies between this machine and a guest: tar streams over the daemon, packed and unpacked here.
//!
//! Outwards: [`survey`](mod@survey) looks at everything once, so that what cannot be read is known before
//! anything is sent, then [`pack`](mod@pack) sends it; [`arrange`](mod@arrange) decides under which name it
//! arrives.
//!
//! Inwards **the guest is hostile**. It may send anything: names that lead out, links, devices, things nobody
//! asked for, without end. [`target`](mod@target) decides before the first byte where the copy may go and
//! what it must be called; [`unpack`](mod@unpack) writes below that directory only, resolved by the kernel
//! (`openat2`: beneath, no symlinks), each file under a temporary name until it is all there, and leaves
//! [`room`](mod@room) on the disk; [`filter`](mod@filter) holds an archive that is passed on to the same
//! rules.
//!
//! File system calls and pipes block, so they have threads of their own ([`thread`](mod@thread)), and Ctrl-C
//! always works.

mod arrange;
mod error;
mod filter;
mod pack;
mod place;
mod receive;
mod remarks;
mod room;
mod survey;
mod target;
mod thread;
mod unpack;
mod walk;

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod odd_tests;

pub(crate) use arrange::arrange;
pub(crate) use error::CopyError;
pub(crate) use filter::Filter;
pub(crate) use pack::{Moved, Pieces, pack, stdin};
pub(crate) use place::{GuestPath, Place};
pub(crate) use receive::receive;
pub(crate) use remarks::{Listed, Remarks};
pub(crate) use survey::{Survey, survey};
pub(crate) use target::{Names, Target};
pub(crate) use thread::in_thread;
pub(crate) use unpack::Unpacker;
pub(crate) use walk::Source;
