//! What can be had by name: the images and kernels that banger knows how to make. Built into the program.

use std::fmt;
use std::sync::LazyLock;

use banger_host::debian::{self, DebianBuild};
use serde::Deserialize;

use crate::spelling::nearest;

/// The image of a VM for which nobody asked for another.
pub const DEFAULT_IMAGE: &str = "debian-trixie";

/// The kernel of a VM for which nobody asked for another.
pub const DEFAULT_KERNEL: &str = "debian-6.12";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Catalog {
    images: Vec<Entry>,
    kernels: Vec<Entry>,
}

/// One image or kernel that can be had.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    pub name: String,
    /// For people, in a few words.
    pub description: String,
    pub source: Source,
    /// Free disk space that making it takes, with some to spare.
    pub build_space_mib: u64,
}

/// Where it comes from. Displays as people read it: `debian trixie`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Source {
    /// Packages of the distribution's signed archive, put together on this host.
    Debian {
        /// Code name of the release.
        suite: String,
        recipe: Recipe,
    },
}

/// Which packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recipe {
    /// A kernel and its modules.
    Kernel,
    /// A root filesystem to work in.
    Golden,
    /// A root filesystem with next to nothing.
    Minimal,
}

impl Source {
    /// The build that makes it.
    pub fn build(&self) -> DebianBuild {
        let Self::Debian { suite, recipe } = self;
        let recipe = match recipe {
            Recipe::Kernel => debian::Recipe::Kernel,
            Recipe::Golden => debian::Recipe::Golden,
            Recipe::Minimal => debian::Recipe::Minimal,
        };
        DebianBuild::new(suite.clone(), recipe)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Debian { suite, recipe } = self;
        f.write_str("debian ")?;
        f.write_str(suite)?;
        if *recipe == Recipe::Minimal { f.write_str(" (minimal)") } else { Ok(()) }
    }
}

static CATALOG: LazyLock<Catalog> = LazyLock::new(|| {
    // Embedded when banger is compiled, and parsed by a test.
    serde_json::from_str(include_str!("catalog.json")).expect("the built-in catalog is valid")
});

/// Images that can be had.
pub fn images() -> &'static [Entry] {
    &CATALOG.images
}

/// Kernels that can be had.
pub fn kernels() -> &'static [Entry] {
    &CATALOG.kernels
}

/// The entry of that name.
pub fn find<'a>(entries: &'a [Entry], name: &str) -> Option<&'a Entry> {
    entries.iter().find(|entry| entry.name == name)
}

/// What to say to somebody who asked for a `name` that is neither here nor in `entries`.
pub fn hint(entries: &[Entry], name: &str) -> String {
    let names = || entries.iter().map(|entry| entry.name.as_str());
    match nearest(name, names()) {
        Some(meant) => format!("did you mean {meant}?"),
        None => format!("these can be had: {}", names().collect::<Vec<_>>().join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_built_in_catalog_is_valid_and_has_the_defaults() {
        assert!(find(images(), DEFAULT_IMAGE).is_some());
        assert!(find(kernels(), DEFAULT_KERNEL).is_some());
        for entries in [images(), kernels()] {
            let names: BTreeSet<_> = entries.iter().map(|entry| &entry.name).collect();
            assert_eq!(names.len(), entries.len(), "a name is there twice");
        }
        let is_kernel = |entry: &Entry| matches!(entry.source, Source::Debian { recipe: Recipe::Kernel, .. });
        assert!(kernels().iter().all(is_kernel));
        assert!(!images().iter().any(is_kernel));
    }

    #[test]
    fn what_nobody_knows_is_refused() {
        for bad in [
            r#"{"images": [], "kernels": [], "more": 1}"#,
            r#"{"images": [], "kernels": [{"name": "x", "description": "", "build_space_mib": 1, "source": {"kind": "oci"}}]}"#,
            r#"{"images": [], "kernels": [{"name": "x", "description": "", "build_space_mib": 1,
                "source": {"kind": "debian", "suite": "x", "recipe": "kernel", "mirror": "x"}}]}"#,
        ] {
            assert!(serde_json::from_str::<Catalog>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn hints_name_the_nearest_or_all() {
        assert_eq!(hint(images(), "debian-trixi"), "did you mean debian-trixie?");
        let all = hint(kernels(), "linux");
        assert_eq!(all, "these can be had: debian-6.12, debian-6.1");
    }
}
