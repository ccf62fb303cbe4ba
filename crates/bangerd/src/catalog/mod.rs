//! What can be had by name: the images and kernels that banger knows how to make or to get. Some are built
//! into the program, the rest stand in the catalogs that the configuration names: files, or addresses that
//! are asked when a name is found nowhere else.
//!
//! A catalog that is not banger's own is foreign input. One that is broken or cannot be reached is told and
//! passed over: it must not keep anybody from what the others have. The first one that has a name wins, and
//! the built-in one comes first.

mod bundle_source;
mod catalogs;
mod document;
mod entry;
mod extra;

pub use bundle_source::{BundleLocation, BundleSource};
pub use catalogs::Catalog;
pub use entry::{DebianSource, Entry, Kind, OciSource, Recipe, Source};
pub use extra::CatalogPlace;

pub(crate) use bundle_source::check_url;

/// The image of a VM for which nobody asked for another.
pub const DEFAULT_IMAGE: &str = "debian-trixie";

/// The kernel of a VM for which nobody asked for another.
pub const DEFAULT_KERNEL: &str = "debian-6.12";
