use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::PathBuf;

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

/// The directory for what lives as long as a login: `$XDG_RUNTIME_DIR/banger`. Where there is no such directory (a
/// plain `su`, a container), `/run/user/<uid>/banger` if that one is there, else `/tmp/banger-<uid>`.
pub fn runtime_dir() -> PathBuf {
    let uid = rustix::process::getuid().as_raw();
    if let Some(dir) = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_absolute())
    {
        return dir.join("banger");
    }
    let login = PathBuf::from(format!("/run/user/{uid}"));
    if login.is_dir() { login.join("banger") } else { PathBuf::from(format!("/tmp/banger-{uid}")) }
}

/// Where the daemon listens.
pub fn socket_path() -> PathBuf {
    runtime_dir().join("bangerd.sock")
}

/// Makes [`runtime_dir`] if it is missing and makes sure that it is the user's alone. In a directory like `/tmp` anybody
/// may have made it first, and would then be the one we talk to.
///
/// # Errors
///
/// When it cannot be made, or is not private.
pub fn private_runtime_dir() -> Result<PathBuf, SocketDirError> {
    let path = runtime_dir();
    if let Err(source) = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path) {
        return Err(SocketDirError::Create { path, source });
    }
    let metadata = match std::fs::symlink_metadata(&path) {
        Ok(metadata) => metadata,
        Err(source) => return Err(SocketDirError::Create { path, source }),
    };
    let (owner, uid) = (metadata.uid(), rustix::process::getuid().as_raw());
    if owner != uid || !metadata.is_dir() {
        return Err(SocketDirError::Owner { path, owner, uid });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(SocketDirError::Mode { path, mode });
    }
    Ok(path)
}
