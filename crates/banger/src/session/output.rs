use std::os::fd::AsFd;

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use tokio::sync::{mpsc, oneshot};

/// Pieces that may wait for a slow reader.
const QUEUE_LEN: usize = 16;

/// This process's stdout and stderr, each written in a thread of its own: a reader that has stopped reading one of them
/// (`| less`) holds up neither the other nor signals. A closed channel means that its reader went away.
pub(super) struct Output {
    pub(super) stdout: mpsc::Sender<Bytes>,
    pub(super) stderr: mpsc::Sender<Bytes>,
    written: Vec<oneshot::Receiver<()>>,
}

impl Output {
    /// # Errors
    ///
    /// When a thread cannot be had.
    pub(super) fn open() -> std::io::Result<Self> {
        let (stdout, stdout_written) = writer("stdout", std::io::stdout())?;
        // Into one terminal or one file (`2>&1`) only one thread keeps the order.
        if same_file() {
            return Ok(Self { stderr: stdout.clone(), stdout, written: vec![stdout_written] });
        }
        let (stderr, stderr_written) = writer("stderr", std::io::stderr())?;
        Ok(Self { stdout, stderr, written: vec![stdout_written, stderr_written] })
    }

    /// Waits until all of it is written.
    pub(super) async fn drain(self) {
        drop((self.stdout, self.stderr));
        for written in self.written {
            // An error means that the thread ended: so be it.
            let _ = written.await;
        }
    }
}

fn same_file() -> bool {
    let (Ok(out), Ok(err)) = (rustix::fs::fstat(std::io::stdout()), rustix::fs::fstat(std::io::stderr()))
    else {
        return false;
    };
    (out.st_dev, out.st_ino) == (err.st_dev, err.st_ino)
}

type Writer = (mpsc::Sender<Bytes>, oneshot::Receiver<()>);

fn writer(name: &str, target: impl AsFd + Send + 'static) -> std::io::Result<Writer> {
    let (sender, mut pieces) = mpsc::channel::<Bytes>(QUEUE_LEN);
    let (done, written) = oneshot::channel();
    std::thread::Builder::new().name(name.into()).spawn(move || {
        while let Some(piece) = pieces.blocking_recv() {
            if write_all(&target, &piece).is_err() {
                break;
            }
        }
        // Closed first: whoever waits for `done` may rely on it.
        drop(pieces);
        let _ = done.send(());
    })?;
    Ok((sender, written))
}

fn write_all(target: &impl AsFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(target, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR) => {}
            // Somebody who shares the descriptor made it non-blocking.
            Err(Errno::AGAIN) => {
                poll(&mut [PollFd::new(target, PollFlags::OUT)], None)
                    .map(drop)
                    .or_else(unless_interrupted)?;
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn unless_interrupted(errno: Errno) -> Result<(), Errno> {
    if errno == Errno::INTR { Ok(()) } else { Err(errno) }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[test]
    fn everything_is_written_even_to_a_nonblocking_pipe() {
        let (mut reader, target) = std::io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&target, true).unwrap();
        let (sender, written) = writer("test", target).unwrap();
        let reading = std::thread::spawn(move || {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).unwrap();
            all
        });
        runtime().block_on(async {
            for byte in 0..40 {
                sender.send(Bytes::from(vec![byte; 50_000])).await.unwrap();
            }
            drop(sender);
            written.await.unwrap();
        });
        let all = reading.join().unwrap();
        assert_eq!(all.len(), 40 * 50_000);
        assert!(all.chunks(50_000).enumerate().all(|(i, piece)| piece.iter().all(|byte| *byte == i as u8)));
    }

    #[test]
    fn a_reader_that_went_away_closes_the_channel() {
        let (reader, target) = std::io::pipe().unwrap();
        drop(reader);
        let (sender, written) = writer("test", target).unwrap();
        runtime().block_on(async {
            sender.send(Bytes::from_static(b"x")).await.unwrap();
            written.await.unwrap();
            assert!(sender.send(Bytes::from_static(b"y")).await.is_err());
        });
        let _ = std::io::stderr().flush();
    }
}
