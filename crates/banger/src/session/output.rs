use std::io::IsTerminal;
use std::os::fd::AsFd;

use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use tokio::sync::{mpsc, oneshot, watch};

use super::converse::SessionError;
use crate::ui;

/// Pieces that may wait for a slow reader.
const QUEUE_LEN: usize = 16;

/// What is wrong with one of this process's own streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    Write { stream: &'static str, errno: Errno },
    Read { errno: Errno },
}

impl From<Failure> for SessionError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Write { stream, errno } => Self::Write { stream, source: errno.into() },
            Failure::Read { errno } => Self::Read(errno.into()),
        }
    }
}

/// The first failure, for whoever waits for it.
pub(super) type Failures = watch::Sender<Option<Failure>>;

/// Waits for one; for ever, when there is none.
pub(super) async fn failure(failures: &Failures) -> Failure {
    let mut failures = failures.subscribe();
    #[allow(clippy::disallowed_methods, reason = "the guard ends inside the statement")]
    let found = failures.wait_for(Option::is_some).await.map(|found| *found);
    match found {
        Ok(Some(failure)) => failure,
        _ => std::future::pending().await,
    }
}

/// This process's stdout and stderr, each written in a thread of its own: a reader that has stopped reading
/// one of them (`| less`) holds up neither the other nor signals. A closed channel means that its reader went
/// away, or a failure.
pub(super) struct Output {
    pub(super) stdout: mpsc::Sender<Bytes>,
    pub(super) stderr: mpsc::Sender<Bytes>,
    written: Vec<oneshot::Receiver<()>>,
}

impl Output {
    /// # Errors
    ///
    /// When a thread cannot be had.
    pub(super) fn open(failures: &Failures, plain_stderr: bool) -> std::io::Result<Self> {
        let (stdout, stdout_written) = writer("stdout", std::io::stdout(), failures, |piece| piece)?;
        // Into one terminal or one file (`2>&1`) only one thread keeps the order.
        if is_one_file() && !plain_stderr {
            return Ok(Self { stderr: stdout.clone(), stdout, written: vec![stdout_written] });
        }
        let filter = if plain_stderr { plain } else { |piece| piece };
        let (stderr, stderr_written) = writer("stderr", std::io::stderr(), failures, filter)?;
        Ok(Self { stdout, stderr, written: vec![stdout_written, stderr_written] })
    }

    /// Both end in one file.
    pub(super) fn is_one(&self) -> bool {
        self.written.len() == 1
    }

    /// Waits until all of it is written.
    pub(super) async fn drain(self) {
        drop((self.stdout, self.stderr));
        for written in self.written {
            // An error means that the thread ended, and so does the value.
            let _ended = written.await;
        }
    }
}

fn is_one_file() -> bool {
    let (Ok(out), Ok(err)) = (rustix::fs::fstat(std::io::stdout()), rustix::fs::fstat(std::io::stderr()))
    else {
        return false;
    };
    (out.st_dev, out.st_ino) == (err.st_dev, err.st_ino) && !ui::is_stdout_missing()
}

type Writer = (mpsc::Sender<Bytes>, oneshot::Receiver<()>);

fn writer(
    stream: &'static str,
    target: impl AsFd + IsTerminal + Send + 'static,
    failures: &Failures,
    filter: fn(Bytes) -> Bytes,
) -> std::io::Result<Writer> {
    let (sender, mut pieces) = mpsc::channel::<Bytes>(QUEUE_LEN);
    let (done, written) = oneshot::channel();
    let failures = failures.clone();
    let missing = stream == "stdout" && ui::is_stdout_missing();
    let terminal = target.is_terminal();
    std::thread::Builder::new().name(stream.into()).spawn(move || {
        while let Some(piece) = pieces.blocking_recv() {
            let outcome = if missing { Err(Errno::BADF) } else { write_all(&target, &filter(piece)) };
            let Err(errno) = outcome else { continue };
            // A terminal that was closed is a reader that went away, too.
            if !(matches!(errno, Errno::PIPE | Errno::CONNRESET) || (terminal && errno == Errno::IO)) {
                failures.send_if_modified(|first| {
                    first.replace(first.unwrap_or(Failure::Write { stream, errno })).is_none()
                });
            }
            break;
        }
        // Closed first: whoever waits for `done` may rely on it.
        drop(pieces);
        // Nobody waits for it when a signal has ended the session.
        let _unheard = done.send(());
    })?;
    Ok((sender, written))
}

/// Text without anything that a terminal obeys, byte by byte: a piece may end anywhere.
fn plain(piece: Bytes) -> Bytes {
    let shown = |byte: &u8| if matches!(byte, b' '..=b'~' | b'\n' | b'\t') { *byte } else { b'?' };
    piece.iter().filter(|byte| **byte != b'\r').map(shown).collect()
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
    use std::fs::File;
    use std::io::Read as _;
    use std::os::fd::OwnedFd;

    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
    }

    #[test]
    fn everything_is_written_even_to_a_nonblocking_pipe() {
        let (mut reader, target) = std::io::pipe().unwrap();
        rustix::io::ioctl_fionbio(&target, true).unwrap();
        let target = File::from(OwnedFd::from(target));
        let (sender, written) = writer("test", target, &Failures::new(None), |piece| piece).unwrap();
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
    fn a_reader_that_went_away_closes_the_channel_and_is_no_failure() {
        let (reader, target) = std::io::pipe().unwrap();
        drop(reader);
        let failures = Failures::new(None);
        let target = File::from(OwnedFd::from(target));
        let (sender, written) = writer("test", target, &failures, |piece| piece).unwrap();
        runtime().block_on(async {
            sender.send(Bytes::from_static(b"x")).await.unwrap();
            written.await.unwrap();
            assert!(sender.send(Bytes::from_static(b"y")).await.is_err());
        });
        #[allow(clippy::disallowed_methods, reason = "the guard ends inside the statement")]
        let failed = *failures.borrow();
        assert_eq!(failed, None);
    }

    #[test]
    fn a_full_device_is_a_failure() {
        let failures = Failures::new(None);
        let full = File::options().write(true).open("/dev/full").unwrap();
        let (sender, written) = writer("test", full, &failures, |piece| piece).unwrap();
        let found = runtime().block_on(async {
            sender.send(Bytes::from_static(b"x")).await.unwrap();
            written.await.unwrap();
            failure(&failures).await
        });
        assert_eq!(found, Failure::Write { stream: "test", errno: Errno::NOSPC });
    }

    #[test]
    fn a_terminal_obeys_nothing_in_plain_text() {
        let said = Bytes::from_static(b"error: \x1b]0;x\x07 \xc2\x9b2J\r\n\ttab");
        assert_eq!(plain(said), &b"error: ?]0;x? ??2J\n\ttab"[..]);
    }
}
