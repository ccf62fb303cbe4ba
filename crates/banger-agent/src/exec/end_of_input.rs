//! The end of a terminal's input, where the client's input is a file or a pipe that has one.
//!
//! A terminal has no end of file but the character for it, and that counts once: for one `read` of one
//! program, and only at the start of a line; behind half a line it hands that half over and no more. So it is
//! typed as often as somebody has taken all there was and asks for more.

use std::io;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use rustix::process::{Signal, kill_process, kill_process_group};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer};
use rustix::termios::{LocalModes, SpecialCodeIndex, tcgetattr, tcgetpgrp, tcgetsid};
use tokio::time::Instant;

use crate::async_file::AsyncFile;

const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(160);
/// How long a program that reads single keys may have taken all there was and say nothing, until it is hung
/// up on. It has no other way to learn that nothing more comes.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Ends the input for every program that reads it from now on. Is the last line of it `unfinished`? Returns
/// only when the terminal is gone, or hung up on.
pub(super) async fn keep(terminal: &AsyncFile, unfinished: bool) -> io::Result<()> {
    let (mut pause, mut keys_typed) = (SHORTEST_PAUSE, 0);
    let (mut heard, mut heard_at) = (terminal.bytes_read(), Instant::now());
    loop {
        let modes = tcgetattr(terminal)?;
        let by_line = modes.local_modes.contains(LocalModes::ICANON);
        let end = modes.special_codes[SpecialCodeIndex::VEOF];
        let waiting = is_input_waiting(terminal)?;
        if by_line {
            keys_typed = 0;
        }
        // A program that reads single keys (a shell that edits its line) knows the key for the end, but only
        // on an empty line. Whoever takes these keys for others shall not get them for ever.
        let key = match (by_line, keys_typed) {
            (true, _) | (false, 0) => Some(end),
            (false, 1) if unfinished => Some(b'\r'),
            (false, 2) if unfinished => Some(end),
            _ => None,
        };
        match key.filter(|key| *key != 0 && !waiting) {
            Some(key) => {
                terminal.write_all(&[key]).await?;
                keys_typed += u32::from(!by_line);
                pause = if by_line { SHORTEST_PAUSE } else { LONGEST_PAUSE };
            }
            None => pause = (pause * 2).min(LONGEST_PAUSE),
        }
        if by_line || waiting || key.is_some() || terminal.bytes_read() != heard {
            (heard, heard_at) = (terminal.bytes_read(), Instant::now());
        } else if heard_at.elapsed() > SILENCE_MAX {
            return hang_up(terminal);
        }
        tokio::time::sleep(pause).await;
    }
}

/// As when somebody closes the window of a terminal.
fn hang_up(terminal: &AsyncFile) -> io::Result<()> {
    let (leader, foreground) = (tcgetsid(terminal)?, tcgetpgrp(terminal)?);
    // Whichever of them has ended by now has heard of it.
    let _ended = kill_process_group(foreground, Signal::HUP);
    // As above.
    let _ended = kill_process(leader, Signal::HUP);
    Ok(())
}

/// Is there something to read, be it an end, for the programs on the terminal? Only their side of it knows.
fn is_input_waiting(terminal: &AsyncFile) -> io::Result<bool> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let theirs = ioctl_tiocgptpeer(terminal, flags)?;
    let mut fds = [PollFd::new(&theirs, PollFlags::IN)];
    retry_on_intr(|| poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })))?;
    Ok(!fds[0].revents().is_empty())
}
