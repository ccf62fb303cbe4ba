use std::fs::File;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// The usual name of the daemon's socket.
pub const SOCKET: &str = "bangerd.sock";

/// Why the directory of the daemon's socket cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SocketDirError {
    #[error("could not make the directory {}", path.display())]
    Create { path: PathBuf, source: std::io::Error },
    #[error("{} belongs to user {owner}, not to you (user {uid})", path.display())]
    Owner { path: PathBuf, owner: u32, uid: u32 },
    #[error("{} is open to other users (mode {mode:04o}, must be 0700)", path.display())]
    Mode { path: PathBuf, mode: u32 },
}

/// The directories for what lives as long as a login, the best one first: `$XDG_RUNTIME_DIR/banger`, or what
/// stands in for it where there is none (a plain `su`, a container, cron): `/run/user/<uid>/banger` if there
/// is such a login, and `/tmp/banger-<uid>`.
pub fn runtime_dirs() -> Vec<PathBuf> {
    let uid = rustix::process::geteuid().as_raw();
    let named = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_absolute());
    let login = Some(PathBuf::from(format!("/run/user/{uid}"))).filter(|dir| dir.is_dir());
    let mut dirs: Vec<PathBuf> = named.into_iter().chain(login).map(|dir| dir.join("banger")).collect();
    dirs.push(format!("/tmp/banger-{uid}").into());
    dirs.dedup();
    dirs
}

/// Where the daemon listens if nothing is in its way. Where it does listen is in its
/// [record](crate::record::DaemonRecord).
pub fn usual_socket_path() -> PathBuf {
    runtime_dirs().swap_remove(0).join(SOCKET)
}

/// Can every program connect to a socket of this path? The kernel takes 107 bytes.
pub fn fits(path: &Path) -> bool {
    path.as_os_str().as_bytes().len() <= 107
}

/// A path as it is given to the kernel to listen on or connect to: by way of its open directory if it is too
/// long.
#[derive(Debug)]
pub struct Address {
    path: PathBuf,
    _dir: Option<File>,
}

impl Address {
    /// # Errors
    ///
    /// When the path is too long, and its directory cannot be opened.
    pub fn of(path: &Path) -> std::io::Result<Self> {
        if fits(path) {
            return Ok(Self { path: path.into(), _dir: None });
        }
        let (dir, name) = (path.parent().unwrap_or(path), path.file_name().unwrap_or_default());
        let dir = File::open(dir)?;
        let path = Path::new("/proc/self/fd").join(dir.as_raw_fd().to_string()).join(name);
        Ok(Self { path, _dir: Some(dir) })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Makes a directory for the socket if it is missing and makes sure that it is the user's alone. In a
/// directory like `/tmp` anybody may have made it first, and would then be the one we talk to.
///
/// # Errors
///
/// When it cannot be made, or is not private.
pub fn private_runtime_dir(path: &Path) -> Result<(), SocketDirError> {
    let path = || path.to_owned();
    if let Err(source) = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path()) {
        return Err(SocketDirError::Create { path: path(), source });
    }
    let metadata = match std::fs::symlink_metadata(path()) {
        Ok(metadata) => metadata,
        Err(source) => return Err(SocketDirError::Create { path: path(), source }),
    };
    let (owner, uid) = (metadata.uid(), rustix::process::geteuid().as_raw());
    if owner != uid || !metadata.is_dir() {
        return Err(SocketDirError::Owner { path: path(), owner, uid });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(SocketDirError::Mode { path: path(), mode });
    }
    Ok(())
}
