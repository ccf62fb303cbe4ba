use std::os::fd::OwnedFd;

use bytes::{Bytes, BytesMut};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use tokio::sync::mpsc;

use banger_api::stream::PAYLOAD_MAX_LEN;

/// While this is open, stdin is read. Closing it wakes the reader, which then takes no more from a terminal that the
/// user's shell wants back.
pub(super) struct Reading(#[allow(dead_code, reason = "held to be closed")] OwnedFd);

/// What this process reads from its stdin, an empty piece at its end. Read in a thread of its own: neither files nor terminals can be read without blocking, and changing that on a
/// descriptor shared with other processes would break those.
///
/// # Errors
///
/// When the thread or its wake-up pipe cannot be had.
pub(super) fn forward() -> std::io::Result<(mpsc::Receiver<Bytes>, Reading)> {
    let (stop, awake) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    // One piece waits while the one before it is under way: enough to keep the stream busy, little to lose at the end.
    let (sender, pieces) = mpsc::channel(1);
    std::thread::Builder::new().name("stdin".into()).spawn(move || read(&sender, &stop))?;
    Ok((pieces, Reading(awake)))
}

fn read(pieces: &mpsc::Sender<Bytes>, stop: &OwnedFd) {
    let stdin = std::io::stdin();
    let mut buffer = BytesMut::new();
    loop {
        let mut ready = [PollFd::new(&stdin, PollFlags::IN), PollFd::new(stop, PollFlags::IN)];
        match poll(&mut ready, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(_) => return,
        }
        if !ready[1].revents().is_empty() {
            return;
        }
        buffer.resize(PAYLOAD_MAX_LEN, 0);
        let count = match rustix::io::read(&stdin, &mut buffer[..]) {
            Ok(count) => count,
            Err(Errno::INTR | Errno::AGAIN) => continue,
            // A terminal that was lost, a directory: there is nothing more to come.
            Err(_) => 0,
        };
        if pieces.blocking_send(buffer.split_to(count).freeze()).is_err() || count == 0 {
            return;
        }
    }
}
