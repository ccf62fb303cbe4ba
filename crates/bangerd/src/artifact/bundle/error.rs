use std::io;

use crate::catalog::Kind;

/// Why a bundle cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    #[error("could not read the bundle")]
    Read(#[source] io::Error),
    #[error("could not write {name}")]
    Write { name: String, source: io::Error },
    #[error("it is no bundle: {0}")]
    NoBundle(&'static str),
    #[error("it is cut off")]
    CutOff,
    #[error("its data is damaged")]
    Damaged(#[source] io::Error),
    #[error("its manifest.json cannot be understood: {0}")]
    Manifest(String),
    #[error(
        "it has format {found}, and this banger knows formats up to {known}: it was made by a newer banger"
    )]
    Format { found: u64, known: u32 },
    #[error("it holds {found}, not {wanted}")]
    Kind { found: Kind, wanted: Kind },
    #[error("it is for {of}, and this host is {}", std::env::consts::ARCH)]
    Architecture { of: String },
    #[error("its entry {name:?} {problem}")]
    Entry { name: String, problem: &'static str },
    #[error("its file {name} has {found}, and its manifest says {declared}")]
    Mismatch { name: String, found: String, declared: String },
    #[error("something follows its last file")]
    Trailing,
    #[error("it has {found} bytes, and the catalog says {wanted}")]
    Size { found: u64, wanted: u64 },
    #[error("it has the SHA-256 {found}, and the catalog says {wanted}")]
    Checksum { found: String, wanted: String },
    #[error("it was cancelled")]
    Cancelled,
}

impl BundleError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Format { .. } => "update banger",
            Self::Checksum { .. } | Self::Size { .. } => {
                "it is not the file that the catalog's maker had in mind: ask whoever keeps it, and do not use it"
            }
            Self::CutOff | Self::Damaged(_) => "get it anew from where it came from",
            Self::NoBundle(_) => {
                "`banger image bundle` and `banger kernel bundle` make bundles; of a kernel's own file, name the directory it lies in"
            }
            _ => return None,
        })
    }
}
