use std::cell::Cell;
use std::time::Duration;

use banger_api::stream::{ExecSpec, Exit};
use banger_api::workspace::Workspace;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::converse::{Control, Ending, Ports, SessionError, converse};
use super::output::Output;
use super::signals::{Caught, Signals, arrival};
use super::terminal::{RawMode, size, stdin_is_terminal};

/// A second Ctrl-C within this time, with no sign of life from the guest in between, gives up on it.
const IMPATIENCE: Duration = Duration::from_secs(1);

/// How long a command may go on whose user hung up.
const HANG_UP_LIMIT: Duration = Duration::from_secs(2);

/// A command to run in a guest, and what it gets of this process.
pub(crate) struct Session {
    pub(crate) spec: ExecSpec,
    /// Pass stdin on; the command sees its end at once otherwise.
    pub(crate) stdin: bool,
}

/// How a session ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Exited(Exit),
    /// Nobody reads stdout any more.
    OutputClosed,
    /// A signal was for this process, not for the command.
    Interrupted(Caught),
}

impl Session {
    /// Runs it in the repository, unless a directory was asked for.
    pub(crate) fn enter(&mut self, workspace: &Workspace) {
        if self.spec.workdir.is_none() && workspace.complete {
            let (root, inside) = (&workspace.guest_path, &workspace.inside);
            let separator: &[u8] = if inside.as_bytes().is_empty() { b"" } else { b"/" };
            self.spec.workdir = Some([root.as_bytes(), separator, inside.as_bytes()].concat().into());
            self.spec.mise = true;
        }
    }

    /// Runs it over `stream`. Hanging up (returning before the command's end) ends the command in the guest.
    ///
    /// # Errors
    ///
    /// When the stream breaks, or this process's own streams cannot be used.
    pub(crate) async fn run(
        self,
        stream: impl AsyncRead + AsyncWrite,
        signals: &mut Signals,
    ) -> Result<Outcome, SessionError> {
        let output = Output::open().map_err(SessionError::Local)?;
        let with_tty = self.spec.tty.is_some();
        let raw = (with_tty && self.stdin && stdin_is_terminal()).then(RawMode::enter);
        let _raw = raw.transpose().map_err(SessionError::Local)?;
        let outcome = self.converse(stream, &output, signals, with_tty).await;
        if matches!(outcome, Ok(Outcome::Exited(_)) | Err(_)) {
            // Who reads the output may take his time; a signal says that he has had enough.
            let _ = signals.unless_caught(output.drain()).await;
        }
        outcome
    }

    async fn converse(
        self,
        stream: impl AsyncRead + AsyncWrite,
        output: &Output,
        signals: &mut Signals,
        with_tty: bool,
    ) -> Result<Outcome, SessionError> {
        let (closed, nothing) = mpsc::channel(1);
        drop(closed);
        let (stdin, _reader) = match self.stdin.then(super::stdin::forward) {
            None => (nothing, None),
            Some(reader) => {
                let (pieces, awake) = reader.map_err(SessionError::Local)?;
                (pieces, Some(awake))
            }
        };
        let (wishes, control) = mpsc::channel(16);
        let ports = Ports { stdin, control, stdout: output.stdout.clone(), stderr: output.stderr.clone() };
        let heard = Cell::new(0);
        let conversation = converse(stream, self.spec, ports, &heard);
        tokio::pin!(conversation);
        let mut resized = if with_tty { signal(SignalKind::window_change()).ok() } else { None };
        let mut patience = Patience::default();
        loop {
            // A full queue means that the guest takes nothing at all; what does not fit in would not help.
            tokio::select! {
                ending = &mut conversation => return Ok(match ending? {
                    Ending::Exit(exit) => Outcome::Exited(exit),
                    Ending::OutputClosed => Outcome::OutputClosed,
                }),
                caught = signals.next() => {
                    if patience.is_over(caught, with_tty, heard.get()) {
                        return Ok(Outcome::Interrupted(caught));
                    }
                    let _ = wishes.try_send(Control::Signal(caught.for_guest()));
                }
                () = arrival(&mut resized) => {
                    if let Some(size) = size() {
                        let _ = wishes.try_send(Control::Resize(size));
                    }
                }
                () = patience.hung_up() => return Ok(Outcome::Interrupted(Caught::Hup)),
            }
        }
    }
}

/// When to stop passing signals on and give up on the guest.
#[derive(Default)]
struct Patience {
    /// When the last Ctrl-C came, and how many frames had been heard by then.
    interrupted: Option<(Instant, u64)>,
    hang_up_at: Option<Instant>,
}

impl Patience {
    fn is_over(&mut self, caught: Caught, with_tty: bool, heard: u64) -> bool {
        match caught {
            // With a terminal, keys are bytes; these two come from outside and mean this process.
            Caught::Hup | Caught::Term if with_tty => true,
            Caught::Hup => {
                self.hang_up_at.get_or_insert(Instant::now() + HANG_UP_LIMIT);
                false
            }
            Caught::Int => {
                let before = self.interrupted.replace((Instant::now(), heard));
                before.is_some_and(|(at, heard_then)| at.elapsed() < IMPATIENCE && heard_then == heard)
            }
            Caught::Quit | Caught::Term => false,
        }
    }

    async fn hung_up(&self) {
        match self.hang_up_at {
            Some(at) => tokio::time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_ctrl_c_gives_up_only_on_a_silent_guest() {
        let mut patience = Patience::default();
        assert!(!patience.is_over(Caught::Int, false, 5));
        assert!(!patience.is_over(Caught::Int, false, 6), "it said something in between");
        assert!(patience.is_over(Caught::Int, false, 6));
    }

    #[test]
    fn with_a_terminal_outside_signals_are_for_the_client() {
        let mut patience = Patience::default();
        assert!(patience.is_over(Caught::Term, true, 0) && patience.is_over(Caught::Hup, true, 0));
        assert!(!patience.is_over(Caught::Term, false, 0) && !patience.is_over(Caught::Hup, false, 0));
        assert!(patience.hang_up_at.is_some());
    }
}
