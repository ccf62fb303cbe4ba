//! The patch that a guest hands back, and what in it could run on the host.
//!
//! The guest is asked for `git diff-tree -p --binary --full-index -M` between two trees, with the prefixes
//! `a/` and `b/` and git's own quoting of names. It may answer with anything, and the user will give the
//! answer to `git apply`. So there are two halves:
//!
//! - [`read`] accepts exactly what git prints for that command and nothing else. It goes line by line in
//!   bounded memory, whatever the size of the patch. Names are not searched for in the text but written again
//!   in git's quoting and compared, so that there is one reading of every line. What it accepts, `git apply`
//!   reads the same way.
//! - [`Screening`] listens while the patch is read and says afterwards which changes are [`Severity::Risky`],
//!   because something on the host runs or obeys such a file on its own, and which are worth a
//!   [`Severity::Notice`].
//!
//! A patch does not say everything. A pure rename has neither mode nor content, so the screening takes the
//! tree that the patch applies to; content in a binary section counts as unseen where it matters.

mod binary;
mod binary_text;
mod change;
mod error;
mod events;
mod header;
mod hunk;
mod lines;
mod quoting;
mod reader;
mod screening;
mod tree_path;

#[cfg(test)]
mod git_fixture;
#[cfg(test)]
mod git_tests;
#[cfg(test)]
mod mutation_tests;
#[cfg(test)]
mod refusal_tests;

pub use change::{BlobId, ChangeKind, FileChange, FileMode};
pub use error::PatchError;
pub use events::{LineKind, PatchEvents};
pub use reader::read;
pub use screening::{
    Finding, Obeyed, PackageJson, Rule, Screening, Severity, TreeEntry, is_obeyed, locked_hosts,
    names_what_runs_unasked,
};
pub use tree_path::PathProblem;
