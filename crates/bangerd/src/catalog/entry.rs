use std::fmt;

use banger_api::operation::Stage;
use banger_host::debian::{self, DebianBuild};
use serde::{Deserialize, Serialize};

use super::BundleSource;

/// What a catalog has entries of. Displays with its article: `an image`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Image,
    Kernel,
}

impl Kind {
    /// The plain word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Kernel => "kernel",
        }
    }

    /// What is told of the making of one.
    pub(crate) fn stage(self) -> Stage {
        match self {
            Self::Image => Stage::Image,
            Self::Kernel => Stage::Kernel,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Image => "an image",
            Self::Kernel => "a kernel",
        })
    }
}

/// One image or kernel that can be had.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    pub name: String,
    /// For people, in a few words.
    #[serde(default)]
    pub description: String,
    pub source: Source,
    /// Free disk space that making it takes, with some to spare. Zero where the source itself tells.
    #[serde(default)]
    pub build_space_mib: u64,
}

/// Where it comes from. Displays as people read it: `debian trixie`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Source {
    /// Packages of the distribution's signed archive, put together on this host.
    Debian(DebianSource),
    /// An image of a registry.
    Oci(OciSource),
    /// A file that `banger image bundle` or `banger kernel bundle` made.
    Bundle(BundleSource),
}

/// What is built from Debian's archive.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DebianSource {
    /// Code name of the release.
    pub suite: String,
    pub recipe: Recipe,
}

/// What is pulled from a registry.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OciSource {
    /// As one would write it for `image pull`: `docker.io/library/alpine:3.20`.
    pub reference: String,
}

/// Which packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recipe {
    /// A kernel and its modules.
    Kernel,
    /// A root filesystem to work in.
    Golden,
    /// That, with Docker.
    Docker,
    /// A root filesystem with next to nothing.
    Minimal,
}

impl DebianSource {
    /// The build that makes it.
    pub fn build(&self) -> DebianBuild {
        let recipe = match self.recipe {
            Recipe::Kernel => debian::Recipe::Kernel,
            Recipe::Golden => debian::Recipe::Golden,
            Recipe::Docker => debian::Recipe::Docker,
            Recipe::Minimal => debian::Recipe::Minimal,
        };
        DebianBuild::new(self.suite.clone(), recipe)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Debian(debian) => debian.fmt(f),
            Self::Oci(oci) => write!(f, "oci {}", oci.reference),
            Self::Bundle(bundle) => write!(f, "bundle {}", bundle.location),
        }
    }
}

impl fmt::Display for DebianSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "debian {}", self.suite)?;
        f.write_str(match self.recipe {
            Recipe::Kernel | Recipe::Golden => "",
            Recipe::Docker => " (docker)",
            Recipe::Minimal => " (minimal)",
        })
    }
}
