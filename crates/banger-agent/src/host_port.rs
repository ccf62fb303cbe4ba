//! The open port to the host as an asynchronous stream.

use std::io;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The port: unlike a pipe, it comes back when the next host connects.
///
/// The runtime takes a hang-up for final. Once it has seen one, it reports the descriptor as ready for ever,
/// also when the host came back between its look and ours. So what would block on a port that is said to have
/// hung up is end of file only if the kernel says so now; else the descriptor is registered anew.
#[derive(Debug)]
pub struct HostPort {
    fd: AsyncFd<OwnedFd>,
}

impl HostPort {
    /// Makes the descriptor non-blocking and registers it with the current runtime.
    ///
    /// # Errors
    ///
    /// When the descriptor cannot be polled.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&fd, true)?;
        Ok(Self { fd: register(fd)? })
    }

    /// Whether the host is away now.
    fn is_host_away(&self) -> io::Result<bool> {
        let mut fds = [PollFd::new(self.fd.get_ref(), PollFlags::IN | PollFlags::OUT)];
        retry_on_intr(|| poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })))?;
        Ok(fds[0].revents().contains(PollFlags::HUP))
    }

    /// Forgets the hang-up that the runtime remembers.
    fn register_anew(&mut self, cx: &Context<'_>) -> io::Result<()> {
        self.fd = register(self.fd.get_ref().try_clone()?)?;
        // Whoever waits for the other direction waits on the former registration.
        cx.waker().wake_by_ref();
        Ok(())
    }
}

fn register(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the OwnedFd stays open, and the same, for as long as the AsyncFd that owns it.
    #[allow(unsafe_code, reason = "tokio cannot see that an OwnedFd keeps its descriptor")]
    let fd = unsafe { AsyncFd::register(fd) };
    Ok(fd?)
}

impl AsyncRead for HostPort {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut guard = ready!(self.fd.poll_read_ready(cx))?;
            let hung_up = guard.ready().is_read_closed();
            let unfilled = buf.initialize_unfilled();
            let read =
                guard.try_io(|fd| Ok(retry_on_intr(|| rustix::io::read(fd.get_ref(), &mut *unfilled))?));
            match read {
                Ok(result) => return Poll::Ready(result.map(|n| buf.advance(n))),
                Err(_) if hung_up => {
                    if self.is_host_away()? {
                        return Poll::Ready(Ok(()));
                    }
                    self.register_anew(cx)?;
                }
                Err(_) => {}
            }
        }
    }
}

impl AsyncWrite for HostPort {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.fd.poll_write_ready(cx))?;
            let hung_up = guard.ready().is_write_closed();
            let written = guard.try_io(|fd| Ok(retry_on_intr(|| rustix::io::write(fd.get_ref(), bytes))?));
            match written {
                Ok(result) => return Poll::Ready(result),
                Err(_) if hung_up => {
                    if self.is_host_away()? {
                        return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
                    }
                    self.register_anew(cx)?;
                }
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
