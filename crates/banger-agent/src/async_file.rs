//! A pipe, terminal or virtio port that the runtime waits on.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::buffer::spare_capacity;
use rustix::io::retry_on_intr;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A non-blocking descriptor. Once the runtime has seen the other side hang up, it reports the descriptor as ready for
/// ever, though a virtio port comes back when the next host connects. So a hang-up is the end of this registration:
/// what would block then is end of file, and whoever expects a next host registers anew. Reading and writing take `&self`, so that both directions of a terminal can share it.
#[derive(Debug)]
pub struct AsyncFile {
    fd: AsyncFd<OwnedFd>,
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
        Ok(Self { fd })
    }

    /// Appends what there is to `buffer`, up to its spare capacity. 0 is end of file.
    ///
    /// # Errors
    ///
    /// What `read` reports; a terminal whose other side is closed answers `EIO`.
    pub async fn read_into(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        loop {
            let mut guard = self.fd.readable().await?;
            let hung_up = guard.ready().is_read_closed();
            let read = guard.try_io(|fd| {
                Ok(retry_on_intr(|| rustix::io::read(fd.get_ref(), spare_capacity(&mut *buffer)))?)
            });
            match read {
                Ok(result) => return result,
                Err(_) if hung_up => return Ok(0),
                Err(_) => {}
            }
        }
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

impl AsyncRead for AsyncFile {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.fd.poll_read_ready(cx))?;
            let hung_up = guard.ready().is_read_closed();
            let unfilled = buf.initialize_unfilled();
            let read =
                guard.try_io(|fd| Ok(retry_on_intr(|| rustix::io::read(fd.get_ref(), &mut *unfilled))?));
            match read {
                Ok(result) => return Poll::Ready(result.map(|n| buf.advance(n))),
                Err(_) if hung_up => return Poll::Ready(Ok(())),
                Err(_) => {}
            }
        }
    }
}

impl AsyncWrite for AsyncFile {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.fd.poll_write_ready(cx))?;
            let hung_up = guard.ready().is_write_closed();
            let written = guard.try_io(|fd| Ok(retry_on_intr(|| rustix::io::write(fd.get_ref(), bytes))?));
            match written {
                Ok(result) => return Poll::Ready(result),
                Err(_) if hung_up => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
                Err(_) => {}
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
