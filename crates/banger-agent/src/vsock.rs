//! The vsock port on which the host connects. A connection is a stream.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};

use rustix::io::{Errno, retry_on_intr};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;

/// The kind of a virtio device, as its `device` file in `/sys` has it.
const VSOCK_DEVICE: &str = "0x0013";

/// The machine's vsock device in `/sys`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VsockDevice(PathBuf);

impl VsockDevice {
    /// Whatever drivers are loaded.
    pub(crate) fn find() -> Option<Self> {
        Self::among(Path::new("/sys/bus/virtio/devices"))
    }

    fn among(devices: &Path) -> Option<Self> {
        // A kernel that knows no virtio yet has no such directory.
        let devices = std::fs::read_dir(devices).ok()?;
        let mut paths = devices.flatten().map(|device| device.path());
        let is_vsock = |path: &PathBuf| {
            // A device that has just gone is none.
            let kind = std::fs::read_to_string(path.join("device"));
            kind.is_ok_and(|kind| kind.trim_end() == VSOCK_DEVICE)
        };
        paths.find(is_vsock).map(Self)
    }

    /// Without one a socket can be made and listen, and nobody reaches it.
    pub(crate) fn has_driver(&self) -> bool {
        self.0.join("driver").exists()
    }
}

/// A listening vsock port that takes the host's connections only.
#[derive(Debug)]
pub(crate) struct VsockListener {
    fd: AsyncFd<OwnedFd>,
}

impl VsockListener {
    /// Listens on `port`.
    ///
    /// # Errors
    ///
    /// The kernel's, for one when it has no driver for vsock.
    pub(crate) fn bind(port: u32) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = socket_with(AddressFamily::VSOCK, SocketType::STREAM, flags, None)?;
        bind_to(&fd, port)?;
        rustix::net::listen(&fd, libc::SOMAXCONN)?;
        // SAFETY: the OwnedFd stays open, and the same, for as long as the AsyncFd that owns it.
        #[allow(unsafe_code, reason = "tokio cannot see that an OwnedFd keeps its descriptor")]
        let fd = unsafe { AsyncFd::register(fd) }?;
        Ok(Self { fd })
    }

    /// The next stream that the host opens.
    ///
    /// A process of the guest's can reach the port as well, over the guest's own address or the loopback
    /// transport, and must not: whoever talks to the agent is root.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub(crate) async fn accept(&self) -> io::Result<UnixStream> {
        loop {
            let mut guard = self.fd.readable().await?;
            match guard.try_io(|fd| accept_once(fd.get_ref())) {
                Ok(Ok((stream, libc::VMADDR_CID_HOST))) => return UnixStream::from_std(stream),
                // Hung up on.
                Ok(Ok(_of_the_guest)) => {}
                Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Ok(Err(error)) => return Err(error),
                Err(_would_block) => {}
            }
        }
    }
}

/// Any address of the machine's: it is not known before the driver is up, and changes with a restore.
fn bind_to(fd: &OwnedFd, port: u32) -> io::Result<()> {
    let address = libc::sockaddr_vm {
        svm_family: libc::AF_VSOCK as libc::sa_family_t,
        svm_reserved1: 0,
        svm_port: port,
        svm_cid: libc::VMADDR_CID_ANY,
        svm_zero: [0; 4],
    };
    let len = size_of_val(&address) as libc::socklen_t;
    // SAFETY: the kernel reads `len` bytes of the address, which lives through the call.
    #[allow(unsafe_code, reason = "rustix has no address of this family")]
    let result = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), len) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A connection, and the context identifier (CID) of who made it.
fn accept_once(fd: &OwnedFd) -> io::Result<(StdStream, u32)> {
    let mut address = libc::sockaddr_vm {
        svm_family: 0,
        svm_reserved1: 0,
        svm_port: 0,
        svm_cid: libc::VMADDR_CID_ANY,
        svm_zero: [0; 4],
    };
    let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    let connection = retry_on_intr(|| {
        let mut len = size_of_val(&address) as libc::socklen_t;
        // SAFETY: the kernel writes at most `len` bytes of the address, which lives through the call; what it
        // returns is a new descriptor that nobody else has.
        #[allow(unsafe_code, reason = "rustix has no address of this family")]
        unsafe {
            match libc::accept4(fd.as_raw_fd(), (&raw mut address).cast(), &raw mut len, flags) {
                -1 => Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)),
                connection => Ok(<OwnedFd as std::os::fd::FromRawFd>::from_raw_fd(connection)),
            }
        }
    })?;
    Ok((connection.into(), address.svm_cid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vsock_device_is_seen_among_others() {
        let devices = tempfile::tempdir().unwrap();
        assert_eq!(VsockDevice::among(&devices.path().join("none")), None);
        for (name, kind, is_vsock) in [("virtio0", "0x0002\n", false), ("virtio1", "0x0013\n", true)] {
            std::fs::create_dir(devices.path().join(name)).unwrap();
            std::fs::write(devices.path().join(name).join("device"), kind).unwrap();
            assert_eq!(VsockDevice::among(devices.path()).is_some(), is_vsock);
        }
        let device = VsockDevice::among(devices.path()).unwrap();
        assert!(!device.has_driver());
        std::fs::create_dir(devices.path().join("virtio1/driver")).unwrap();
        assert!(device.has_driver());
    }
}
