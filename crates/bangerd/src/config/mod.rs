//! What the user decided: `config.toml`, and where every value in force comes from.
//!
//! A file with a mistake is refused as a whole; the complaint names file, line and column. A missing file is
//! no mistake.

mod catalog;
mod error;
mod file_sync;
#[cfg(test)]
mod file_sync_tests;
mod parse;
#[cfg(test)]
mod tests;
mod view;
mod vm_defaults;

use std::fs::File;
use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use banger_api::config::Origin;
use banger_api::vm::NetworkMode;
use banger_gateway::policy::Policy;

pub use error::{ConfigError, Mistake};
pub use file_sync::FileSync;
pub use vm_defaults::{HostSize, VmDefaults, vm_defaults};

use crate::catalog::{CatalogPlace, DEFAULT_IMAGE, DEFAULT_KERNEL};

/// Nobody writes that much; a device or a disk image is more.
const MAX_KIB: u64 = 1024;

/// QEMU's program when none is configured.
const QEMU: &str = "qemu-system-x86_64";

/// Where the name server for `.vm` answers when nothing else is configured: only this host can ask it, and it
/// needs no privilege.
const DNS_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 42069);

/// A value, and who says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting<T> {
    pub value: T,
    pub origin: Origin,
}

impl<T> Setting<T> {
    fn configured(value: T) -> Self {
        Self { value, origin: Origin::Config }
    }

    fn builtin(value: T) -> Self {
        Self { value, origin: Origin::Builtin }
    }
}

/// Which VMM to use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VmmChoice {
    /// The best there is on this host.
    Auto,
    Qemu,
}

impl VmmChoice {
    const WORDS: &[(&str, Self)] = &[("auto", Self::Auto), ("qemu", Self::Qemu)];
}

/// How VMs are connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkChoice {
    /// The best this user is permitted.
    Auto,
    User,
    None,
}

impl NetworkChoice {
    const WORDS: &[(&str, Self)] = &[("auto", Self::Auto), ("user", Self::User), ("none", Self::None)];

    /// The mode that it comes to.
    pub fn mode(self) -> NetworkMode {
        match self {
            Self::Auto | Self::User => NetworkMode::User,
            Self::None => NetworkMode::None,
        }
    }
}

/// The least important messages that are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    const WORDS: &[(&str, Self)] = &[
        ("error", Self::Error),
        ("warn", Self::Warn),
        ("info", Self::Info),
        ("debug", Self::Debug),
        ("trace", Self::Trace),
    ];
}

/// The configuration in force. What depends on the host's size is in [`vm_defaults()`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The file, whether it exists or not.
    pub path: PathBuf,
    pub exists: bool,
    pub default_image: Setting<String>,
    pub default_kernel: Setting<String>,
    pub vmm: Setting<VmmChoice>,
    /// QEMU's program: an absolute path, or a name on PATH.
    pub qemu_bin: Setting<PathBuf>,
    /// `vm_defaults.vcpu`, if the file has it.
    pub vcpu: Option<u32>,
    /// `vm_defaults.memory_mib`, if the file has it.
    pub memory_mib: Option<u64>,
    /// `vm_defaults.disk_size`, if the file has it.
    pub disk_mib: Option<u64>,
    /// `network.mode`.
    pub network: Setting<NetworkChoice>,
    /// `network.egress`.
    pub egress: Setting<Policy>,
    /// `dns.listen`: where the name server for `.vm` answers; none where it is off.
    pub dns_listen: Setting<Option<SocketAddr>>,
    /// What each start copies into the guest, in this order. Nothing leaves the host unless it is named here.
    pub file_sync: Setting<Vec<FileSync>>,
    /// Where else images and kernels can be had by name.
    pub catalogs: Setting<Vec<CatalogPlace>>,
    pub log_level: Setting<LogLevel>,
}

impl Config {
    /// Reads the file; without one, everything is as built in.
    ///
    /// # Errors
    ///
    /// When it cannot be read or has a mistake in it.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let unreadable = |source| ConfigError::Read { path: path.into(), source };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::builtin(path)),
            Err(error) => return Err(unreadable(error)),
        };
        let mut bytes = Vec::new();
        file.take((MAX_KIB << 10) + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > MAX_KIB << 10 {
            return Err(ConfigError::TooLarge { path: path.into(), limit_kib: MAX_KIB });
        }
        match std::str::from_utf8(&bytes) {
            Ok(text) => Self::parse(text, path),
            Err(error) => {
                let text = String::from_utf8_lossy(&bytes);
                let start = error.valid_up_to();
                Err(error::Text { path, text: &text }.mistake(start..start, "this is not UTF-8 text", None))
            }
        }
    }

    /// Reads a file's text; `path` is for complaints.
    ///
    /// # Errors
    ///
    /// When it has a mistake in it.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        parse::parse(text, path)
    }

    /// What is in force without a file.
    pub fn builtin(path: &Path) -> Self {
        Self {
            path: path.into(),
            exists: false,
            default_image: Setting::builtin(DEFAULT_IMAGE.into()),
            default_kernel: Setting::builtin(DEFAULT_KERNEL.into()),
            vmm: Setting::builtin(VmmChoice::Auto),
            qemu_bin: Setting::builtin(QEMU.into()),
            vcpu: None,
            memory_mib: None,
            disk_mib: None,
            network: Setting::builtin(NetworkChoice::Auto),
            egress: Setting::builtin(Policy::default()),
            dns_listen: Setting::builtin(Some(DNS_LISTEN)),
            file_sync: Setting::builtin(Vec::new()),
            catalogs: Setting::builtin(Vec::new()),
            log_level: Setting::builtin(LogLevel::Info),
        }
    }
}
