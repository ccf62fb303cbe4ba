//! Unix sockets by directory and name. An address holds 108 bytes and a directory may be deeper than that, so
//! the directory goes by its descriptor.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, fchmod};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::net::UnixStream;

/// Clients that may wait until they are taken on.
const BACKLOG: i32 = 16;

/// Connects to the socket `name` in `dir`.
///
/// # Errors
///
/// When there is none, or nobody listens.
pub async fn connect_in(dir: &Path, name: &str) -> io::Result<UnixStream> {
    let dir = open(dir)?;
    UnixStream::connect(address(&dir, name)).await
}

/// A socket `name` in `dir` that listens, for another process to take clients on. Only its owner may connect.
/// Nothing may have the name yet.
///
/// # Errors
///
/// When it cannot be made.
pub fn listen_in(dir: &Path, name: &str) -> io::Result<OwnedFd> {
    let dir = open(dir)?;
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // Before it has a name: it is never open to others.
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(address(&dir, name))?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

fn open(dir: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

fn address(dir: &OwnedFd, name: &str) -> PathBuf {
    format!("/proc/self/fd/{}/{name}", dir.as_raw_fd()).into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[tokio::test]
    async fn deep_directories_have_private_sockets() {
        let top = tempfile::tempdir().unwrap();
        let dir = top.path().join("d".repeat(120));
        std::fs::create_dir(&dir).unwrap();
        assert_eq!(connect_in(&dir, "x").await.unwrap_err().kind(), io::ErrorKind::NotFound);
        let listening = listen_in(&dir, "x").unwrap();
        assert_eq!(dir.join("x").metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(listen_in(&dir, "x").unwrap_err().kind(), io::ErrorKind::AddrInUse);
        // Nobody has taken it on yet, and it is connected all the same.
        connect_in(&dir, "x").await.unwrap();
        drop(listening);
        assert_eq!(connect_in(&dir, "x").await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}
