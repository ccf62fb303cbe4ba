use std::io::IsTerminal as _;
use std::sync::{Mutex, PoisonError};

use banger_api::stream::WindowSize;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// The terminal's settings before raw mode: global, so that a panic's message finds a usable terminal as
/// well.
static BEFORE: Mutex<Option<Termios>> = Mutex::new(None);

/// While it exists, keys reach the guest as they are typed, Ctrl-C included.
pub(super) struct RawMode(());

impl RawMode {
    /// # Errors
    ///
    /// When stdin is no terminal, or one that was lost.
    pub(super) fn enter() -> std::io::Result<Self> {
        let stdin = std::io::stdin();
        let before = tcgetattr(&stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        *BEFORE.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
        tcsetattr(&stdin, OptionalActions::Now, &raw)?;
        Ok(Self(()))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

/// Puts the terminal back as it was before [`RawMode`], if that is on.
pub(crate) fn restore() {
    if let Some(before) = BEFORE.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // A terminal that was lost needs no restoring.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &before);
    }
}

/// The size of the terminal that this process has, on whichever of its streams; none without one.
pub(crate) fn size() -> Option<WindowSize> {
    fn of(stream: &(impl std::os::fd::AsFd + std::io::IsTerminal)) -> Option<WindowSize> {
        let size = stream.is_terminal().then(|| tcgetwinsize(stream).ok()).flatten()?;
        Some(WindowSize { rows: size.ws_row, cols: size.ws_col })
    }
    let size = of(&std::io::stdout()).or_else(|| of(&std::io::stdin())).or_else(|| of(&std::io::stderr()))?;
    // Some terminals do not know (a serial line, expect): 0 by 0 would confuse every program in the guest.
    Some(if size.rows == 0 || size.cols == 0 { WindowSize { rows: 24, cols: 80 } } else { size })
}

pub(super) fn stdin_is_terminal() -> bool {
    std::io::stdin().is_terminal()
}
