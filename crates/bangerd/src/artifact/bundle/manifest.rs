use banger_host::kernel_version::is_release;
use serde::{Deserialize, Serialize};

use super::BundleError;
use crate::catalog::Kind;
use crate::checksum::is_sha256;
use crate::store::words::RunConfig;

/// What is written, and the newest that is read.
const FORMAT: u32 = 1;

/// Longest manifest accepted, in bytes.
pub(super) const MANIFEST_MAX_LEN: u64 = 1 << 20;

/// Longest name that a bundle gives itself, in bytes.
const NAME_MAX_LEN: usize = 255;

/// The manifest's own name in the archive.
pub(super) const MANIFEST: &str = "manifest.json";

/// What a bundle says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    format: u32,
    pub(crate) kind: Kind,
    /// What it was called where it was made. For people.
    pub(crate) name: String,
    architecture: String,
    /// An image's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    config: Option<RunConfig>,
    /// A kernel's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    release: Option<String>,
    /// In the order in which they follow.
    pub(super) files: Vec<BundleFile>,
}

/// A file in a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BundleFile {
    pub(super) name: String,
    /// Its length, holes included.
    pub(super) size_bytes: u64,
    /// What of it is stored; the rest are holes.
    pub(super) data_bytes: u64,
    /// In hex. Only for files without holes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sha256: Option<String>,
}

/// What differs between the kinds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Details {
    Image {
        config: RunConfig,
    },
    Kernel {
        /// What `uname -r` prints.
        release: String,
    },
}

impl Details {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Self::Image { .. } => Kind::Image,
            Self::Kernel { .. } => Kind::Kernel,
        }
    }
}

/// The files of a kind, and how long each can be at most.
pub(super) fn files_of(kind: Kind) -> &'static [(&'static str, u64)] {
    match kind {
        // What ext4 can be.
        Kind::Image => &[("rootfs.ext4", 16 << 40)],
        Kind::Kernel => &[("vmlinux", 512 << 20), ("modules.cpio", 256 << 20), ("modules.ext4", 16 << 30)],
    }
}

impl Manifest {
    pub(super) fn new(name: &str, details: Details, files: Vec<BundleFile>) -> Self {
        let kind = details.kind();
        let (config, release) = match details {
            Details::Image { config } => (Some(config), None),
            Details::Kernel { release } => (None, Some(release)),
        };
        let architecture = std::env::consts::ARCH.into();
        Self { format: FORMAT, kind, name: name.into(), architecture, config, release, files }
    }

    /// Reads one, and makes sure that it says only what its kind may say.
    ///
    /// # Errors
    ///
    /// When it is malformed, of a newer format, or for another architecture.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, BundleError> {
        #[derive(Deserialize)]
        struct Format {
            format: u64,
        }
        let malformed = |error: serde_json::Error| BundleError::Manifest(error.to_string());
        // First of all: a newer one may have anything in it.
        let Format { format } = serde_json::from_slice(bytes).map_err(malformed)?;
        if format > u64::from(FORMAT) {
            return Err(BundleError::Format { found: format, known: FORMAT });
        }
        let manifest: Self = serde_json::from_slice(bytes).map_err(malformed)?;
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), BundleError> {
        let wrong = |what: &str| Err(BundleError::Manifest(what.into()));
        if self.format != FORMAT {
            return wrong("there is no such format");
        }
        if self.architecture != std::env::consts::ARCH {
            return Err(BundleError::Architecture { of: printable(&self.architecture) });
        }
        if self.name.len() > NAME_MAX_LEN || self.name.chars().any(char::is_control) {
            return wrong("its name is too long, or has control characters in it");
        }
        match (self.kind, &self.config, &self.release) {
            (Kind::Image, Some(_), None) => {}
            (Kind::Kernel, None, Some(release)) if is_release(release) => {}
            (Kind::Kernel, None, Some(_)) => return wrong("its release is none"),
            _ => return wrong("an image must have `config`, a kernel `release`, and neither the other"),
        }
        let known = files_of(self.kind);
        if !self.files.iter().map(|file| file.name.as_str()).eq(known.iter().map(|(name, _)| *name)) {
            let names: Vec<_> = known.iter().map(|(name, _)| *name).collect();
            let named: Vec<_> = self.files.iter().map(|file| printable(&file.name)).collect();
            let kind = self.kind;
            return wrong(&format!("it names the files {named:?}, and {kind} has {names:?}, nothing else"));
        }
        for (file, (name, max)) in self.files.iter().zip(known) {
            if file.size_bytes > *max || file.data_bytes > file.size_bytes {
                return wrong(&format!("the sizes of {name} make no sense"));
            }
            let sparse = file.data_bytes < file.size_bytes;
            if file.sha256.as_ref().is_some_and(|sum| sparse || !is_sha256(sum)) {
                return wrong(&format!("the checksum of {name} makes no sense"));
            }
        }
        Ok(())
    }

    pub(crate) fn details(&self) -> Details {
        match &self.release {
            Some(release) => Details::Kernel { release: release.clone() },
            None => Details::Image { config: self.config.clone().unwrap_or_default() },
        }
    }

    /// What all its files take on disk, in bytes.
    pub(super) fn data_bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.data_bytes))
    }
}

/// Foreign text on one line, and not without end.
pub(super) fn printable(text: &str) -> String {
    let plain = text.chars().take(80).map(|c| if c.is_control() { '\u{FFFD}' } else { c });
    plain.collect()
}
