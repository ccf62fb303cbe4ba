//! A pipe or terminal that the runtime waits on.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::buffer::spare_capacity;
use rustix::io::{Errno, retry_on_intr};
use tokio::io::unix::AsyncFd;

const DISCARD_LEN: usize = 64 * 1024;

/// A non-blocking descriptor whose other side, once it has hung up, does not come back: what would block then
/// is end of file. Reading and writing take `&self`, so that both directions of a terminal can share it.
#[derive(Debug)]
pub struct AsyncFile {
    fd: AsyncFd<OwnedFd>,
    read: AtomicU64,
}

impl AsyncFile {
    /// Makes the descriptor non-blocking and registers it with the current runtime.
    ///
    /// # Errors
    ///
    /// When the descriptor cannot be polled (a regular file).
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        // SAFETY: the OwnedFd stays open, and the same, for as long as the AsyncFd that owns it.
        #[allow(unsafe_code, reason = "tokio cannot see that an OwnedFd keeps its descriptor")]
        let fd = unsafe { AsyncFd::register(fd) }?;
        Ok(Self { fd, read: AtomicU64::new(0) })
    }

    /// Appends what there is to `buffer`, up to its spare capacity. 0 is end of file.
    ///
    /// # Errors
    ///
    /// What `read` reports; a terminal whose other side is closed answers `EIO`.
    pub async fn read_into(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        self.read_with(|fd| rustix::io::read(fd, spare_capacity(&mut *buffer))).await
    }

    /// As [`Self::read_into`], for what is there now; none when there is nothing yet.
    ///
    /// # Errors
    ///
    /// What `read` reports.
    pub fn read_now(&self, buffer: &mut Vec<u8>) -> io::Result<Option<usize>> {
        match retry_on_intr(|| rustix::io::read(self.fd.get_ref(), spare_capacity(&mut *buffer))) {
            Ok(count) => Ok(Some(count)),
            Err(Errno::AGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Throws away what there is, up to some 64 KiB. 0 is end of file. Takes no memory while it waits.
    ///
    /// # Errors
    ///
    /// What `read` reports.
    pub async fn discard(&self) -> io::Result<usize> {
        self.read_with(|fd| rustix::io::read(fd, &mut [0u8; DISCARD_LEN])).await
    }

    async fn read_with(&self, mut read: impl FnMut(&OwnedFd) -> Result<usize, Errno>) -> io::Result<usize> {
        loop {
            let mut guard = self.fd.readable().await?;
            let hung_up = guard.ready().is_read_closed();
            match guard.try_io(|fd| Ok(retry_on_intr(|| read(fd.get_ref()))?)) {
                Ok(result) => {
                    self.read.fetch_add(*result.as_ref().unwrap_or(&0) as u64, Ordering::Relaxed);
                    return result;
                }
                Err(_) if hung_up => return Ok(0),
                Err(_) => {}
            }
        }
    }

    /// How many bytes were read and thrown away in all.
    pub fn bytes_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    /// Writes everything.
    ///
    /// # Errors
    ///
    /// What `write` reports.
    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let mut guard = self.fd.writable().await?;
            let hung_up = guard.ready().is_write_closed();
            let written = guard.try_io(|fd| Ok(retry_on_intr(|| rustix::io::write(fd.get_ref(), bytes))?));
            match written {
                Ok(result) => bytes = &bytes[result?..],
                Err(_) if hung_up => return Err(io::ErrorKind::BrokenPipe.into()),
                Err(_) => {}
            }
        }
        Ok(())
    }
}

impl AsFd for AsyncFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.get_ref().as_fd()
    }
}
