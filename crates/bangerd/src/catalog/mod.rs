//! What can be had by name: the images and kernels that banger knows how to make or to get. Some are built into the
//! program.

mod catalogs;
mod document;
mod entry;

pub use catalogs::Catalog;
pub use entry::{DebianSource, Entry, Kind, OciSource, Recipe, Source};

/// The image of a VM for which nobody asked for another.
pub const DEFAULT_IMAGE: &str = "debian-trixie";

/// The kernel of a VM for which nobody asked for another.
pub const DEFAULT_KERNEL: &str = "debian-6.12";
