//! The end of a terminal's input, where the client's input is a file or a pipe that has one.
//!
//! A terminal has no end of file but the character for it, and that counts once: for one `read` of one program, and only at the
//! start of a line; behind half a line it hands that half over and no more. So it is typed as often as somebody has taken all
//! there was and asks for more.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer};
use rustix::termios::{LocalModes, SpecialCodeIndex, tcgetattr};

use crate::async_file::AsyncFile;

const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(160);

/// Ends the input for every program that reads it from now on. Returns only when the terminal is gone.
pub(super) async fn keep(terminal: &AsyncFile) -> io::Result<Infallible> {
    let mut pause = SHORTEST_PAUSE;
    let mut typed_as_key = false;
    loop {
        let modes = tcgetattr(terminal)?;
        let by_line = modes.local_modes.contains(LocalModes::ICANON);
        typed_as_key &= !by_line;
        let end = modes.special_codes[SpecialCodeIndex::VEOF];
        // A program that reads single keys (a shell that edits its line) knows the key, but one that takes it for another
        // shall not get it for ever.
        if end != 0 && !typed_as_key && !is_input_waiting(terminal)? {
            terminal.write_all(&[end]).await?;
            typed_as_key = !by_line;
            pause = SHORTEST_PAUSE;
        } else {
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        tokio::time::sleep(pause).await;
    }
}

/// Is there something to read, be it an end, for the programs on the terminal? Only their side of it knows.
fn is_input_waiting(terminal: &AsyncFile) -> io::Result<bool> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let theirs = ioctl_tiocgptpeer(terminal, flags)?;
    let mut fds = [PollFd::new(&theirs, PollFlags::IN)];
    retry_on_intr(|| poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })))?;
    Ok(!fds[0].revents().is_empty())
}
