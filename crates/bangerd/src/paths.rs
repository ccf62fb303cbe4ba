use std::path::{Path, PathBuf};

use banger_host::files::{FileError, private_dir};
use etcetera::BaseStrategy as _;

use crate::identity::VmId;
use crate::lost_found::LostFound;

/// The home directory of whom the daemon runs as.
///
/// # Errors
///
/// When there is none.
pub fn home() -> Result<PathBuf, PathsError> {
    etcetera::home_dir().map_err(PathsError::NoHome)
}

/// Where everything of the daemon's lies.
///
/// ```text
/// $XDG_CONFIG_HOME/banger/config.toml
/// $XDG_STATE_HOME/banger/           banger.db  bangerd.log  bangerd.lock
///     applying/                     patches on their way into a working tree, while they are
///     backups/                      banger-<ms>.db, the last three
///     images/<id>/                  rootfs.ext4  image.json
///     kernels/<id>/                 vmlinux  modules.cpio  modules.ext4  kernel.json
///     lost+found/<name>/            what nothing explains
///     ssh/                          keys and what ssh is told of them: see `ssh/`
///     vms/<id>/                     vm.json  cow.img  work.ext4  console.log[.1]  vmm.log[.1]
///                                   ssh_host_ed25519_key (from its first start)
///                                   handles.json  *.sock, links to image and kernel (while it runs)
/// $XDG_CACHE_HOME/banger/           initramfs/<key>.cpio  catalogs/  downloads/
/// $XDG_RUNTIME_DIR/banger/          bangerd.sock (where it can be had: docs/decisions/0017)
/// ```
#[derive(Clone, Debug)]
pub struct Paths {
    pub config_file: PathBuf,
    pub state: PathBuf,
    pub cache: PathBuf,
    /// Where the daemon listens if nothing is in its way.
    pub socket: PathBuf,
}

/// Why the daemon's directories cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PathsError {
    #[error("there is no home directory: neither $HOME nor the user database names one")]
    NoHome(#[source] etcetera::HomeDirError),
    #[error("a directory of bangerd's own cannot be used")]
    Directory(#[from] FileError),
}

impl Paths {
    /// The paths that the environment asks for. Touches nothing.
    ///
    /// # Errors
    ///
    /// When there is no home directory.
    pub fn from_env() -> Result<Self, PathsError> {
        let base = etcetera::base_strategy::Xdg::new().map_err(PathsError::NoHome)?;
        // As the CLI finds it: the state directory is what makes a daemon the one that is meant.
        let state = banger_api::record::state_dir();
        Ok(Self {
            config_file: base.config_dir().join("banger/config.toml"),
            state: state.unwrap_or_else(|| base.home_dir().join(".local/state/banger")),
            cache: base.cache_dir().join("banger"),
            socket: banger_api::socket::usual_socket_path(),
        })
    }

    /// Makes the directories, private to the user.
    ///
    /// # Errors
    ///
    /// When one cannot be made, or belongs to somebody else.
    pub fn create(&self) -> Result<(), PathsError> {
        for dir in [&self.state, &self.cache] {
            if let Some(parent) = dir.parent() {
                std::fs::create_dir_all(parent).map_err(|source| FileError::Io {
                    action: "make the directory",
                    path: parent.into(),
                    source,
                })?;
            }
            private_dir(dir)?;
        }
        for dir in [self.images(), self.kernels(), self.vms(), self.initramfs(), self.catalogs()] {
            private_dir(&dir)?;
        }
        Ok(())
    }

    pub fn database(&self) -> PathBuf {
        self.state.join("banger.db")
    }

    /// Copies of the store, the last few.
    pub fn backups(&self) -> PathBuf {
        self.state.join("backups")
    }

    /// What cannot be explained.
    pub fn lost_found(&self) -> LostFound {
        LostFound::new(self.state.join("lost+found"))
    }

    pub fn log(&self) -> PathBuf {
        self.state.join("bangerd.log")
    }

    /// Held with `flock` by the one daemon that may use the state directory.
    pub fn lock(&self) -> PathBuf {
        self.state.join("bangerd.lock")
    }

    pub fn images(&self) -> PathBuf {
        self.state.join("images")
    }

    /// Banger's own key, the pinned host keys, and what SSH clients are told.
    pub fn ssh(&self) -> PathBuf {
        self.state.join("ssh")
    }

    pub fn kernels(&self) -> PathBuf {
        self.state.join("kernels")
    }

    pub fn vms(&self) -> PathBuf {
        self.state.join("vms")
    }

    pub fn initramfs(&self) -> PathBuf {
        self.cache.join("initramfs")
    }

    /// Copies of catalogs that were asked over the network.
    pub fn catalogs(&self) -> PathBuf {
        self.cache.join("catalogs")
    }

    /// Downloads that are not whole yet.
    pub fn downloads(&self) -> PathBuf {
        self.cache.join("downloads")
    }

    /// Patches on their way from a guest to somebody who asked for them. Nothing here outlives a daemon for
    /// long: the next one begins with an empty directory.
    pub fn patches(&self) -> PathBuf {
        self.state.join("patches")
    }

    /// Journals of patches that are on their way into a working tree.
    pub fn applying(&self) -> PathBuf {
        self.state.join("applying")
    }

    pub fn vm(&self, id: &VmId) -> VmDir {
        VmDir(self.vms().join(id.as_str()))
    }
}

/// A VM's own directory. Its VMM runs in it and holds every path relative to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmDir(PathBuf);

impl VmDir {
    pub const COW: &str = "cow.img";
    pub const WORK: &str = "work.ext4";
    pub const CONSOLE_LOG: &str = "console.log";
    pub const VMM_LOG: &str = "vmm.log";
    /// What the VM is.
    pub const RECORD: &str = "vm.json";
    /// Made by the host, so that it is known before the guest is.
    pub const SSH_HOST_KEY: &str = "ssh_host_ed25519_key";
    pub const HANDLES: &str = "handles.json";
    pub const AGENT_SOCKET: &str = "agent.sock";
    pub const QMP_SOCKET: &str = "qmp.sock";
    /// The port to the guest's network: its gateway connects to it.
    pub const NETWORK_SOCKET: &str = "network.sock";
    /// Links to what the VM shares with others.
    pub const VMLINUX: &str = "vmlinux";
    pub const INITRAMFS: &str = "initramfs.cpio";
    pub const IMAGE: &str = "image.ext4";
    pub const MODULES: &str = "modules.ext4";
    /// What is there only while a VMM is, beside [`Self::HANDLES`].
    pub const WHILE_RUNNING: [&str; 7] = [
        Self::AGENT_SOCKET,
        Self::NETWORK_SOCKET,
        Self::QMP_SOCKET,
        Self::VMLINUX,
        Self::INITRAMFS,
        Self::IMAGE,
        Self::MODULES,
    ];

    /// A directory that is to become a VM's.
    pub fn at(path: &Path) -> Self {
        Self(path.into())
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}
