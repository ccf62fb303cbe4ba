use std::io::IsTerminal as _;
use std::os::fd::OwnedFd;

use bytes::{Bytes, BytesMut};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use tokio::sync::mpsc;

use banger_api::stream::PAYLOAD_MAX_LEN;

use super::output::{Failure, Failures};

/// While this is open, stdin is read. Closing it wakes the reader, which then takes no more from a terminal
/// that the user's shell wants back.
pub(super) struct Reading(#[allow(dead_code, reason = "held to be closed")] OwnedFd);

/// What this process reads from its stdin, an empty piece at its end. Read in a thread of its own: neither
/// files nor terminals can be read without blocking, and changing that on a descriptor shared with other
/// processes would break those.
///
/// # Errors
///
/// When the thread or its wake-up pipe cannot be had.
pub(super) fn forward(failures: Failures) -> std::io::Result<(mpsc::Receiver<Bytes>, Reading)> {
    let (stop, awake) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    // One piece waits while the one before it is under way: enough to keep the stream busy, little to lose at
    // the end.
    let (sender, pieces) = mpsc::channel(1);
    std::thread::Builder::new().name("stdin".into()).spawn(move || {
        let Err(errno) = read(&sender, &stop) else { return };
        failures.send_if_modified(|first| first.replace(first.unwrap_or(Failure::Read { errno })).is_none());
        // The command must not take what it got for all there was: the end of our channel would tell it so.
        while poll(&mut [PollFd::new(&stop, PollFlags::IN)], None) == Err(Errno::INTR) {}
    })?;
    Ok((pieces, Reading(awake)))
}

fn read(pieces: &mpsc::Sender<Bytes>, stop: &OwnedFd) -> Result<(), Errno> {
    let stdin = std::io::stdin();
    let terminal = stdin.is_terminal();
    let mut buffer = BytesMut::new();
    loop {
        let mut ready = [PollFd::new(&stdin, PollFlags::IN), PollFd::new(stop, PollFlags::IN)];
        match poll(&mut ready, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno),
        }
        if !ready[1].revents().is_empty() {
            return Ok(());
        }
        buffer.resize(PAYLOAD_MAX_LEN, 0);
        let count = match rustix::io::read(&stdin, &mut buffer[..]) {
            Ok(count) => count,
            Err(Errno::INTR | Errno::AGAIN) => continue,
            // A terminal that was lost has no more to say, and what cannot be read at all (`nohup` gives us
            // such a stdin) had nothing to say from the start.
            Err(errno) if terminal || errno == Errno::BADF => 0,
            Err(errno) => return Err(errno),
        };
        if pieces.blocking_send(buffer.split_to(count).freeze()).is_err() || count == 0 {
            return Ok(());
        }
    }
}
