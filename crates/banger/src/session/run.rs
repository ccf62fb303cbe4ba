use std::time::Duration;

use banger_api::stream::{ExecSpec, Exit};
use banger_api::workspace::Workspace;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::converse::{Control, Ending, Heard, Ports, SessionError, converse};
use super::output::{Failures, Output, failure};
use super::signals::{Caught, Signals, arrival};
use super::terminal::{RawMode, size, stdin_is_terminal};

/// A second Ctrl-C within this time, with no sign of life from the guest in between, gives up on it.
const IMPATIENCE: Duration = Duration::from_secs(1);

/// How long a guest may give no sign of life after a signal was passed on.
const SILENCE_LIMIT: Duration = Duration::from_secs(2);

/// How long a command may go on whose user hung up, and one that was asked to end from outside.
const HANG_UP_LIMIT: Duration = Duration::from_secs(2);
const TERM_LIMIT: Duration = Duration::from_secs(5);

/// A command to run in a guest, and what it gets of this process.
pub(crate) struct Session {
    pub(crate) spec: ExecSpec,
    /// Pass stdin on; the command sees its end at once otherwise.
    pub(crate) stdin: bool,
    /// What comes on stderr is for people, and from somebody who is not trusted with their terminal.
    pub(crate) plain_stderr: bool,
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
        mut self,
        stream: impl AsyncRead + AsyncWrite,
        signals: &mut Signals,
    ) -> Result<Outcome, SessionError> {
        let failures = Failures::new(None);
        let output = Output::open(&failures, self.plain_stderr).map_err(SessionError::Local)?;
        let with_tty = self.spec.tty.is_some();
        self.spec.merge_output = output.is_one() && !with_tty;
        let raw = (with_tty && self.stdin && stdin_is_terminal()).then(RawMode::enter);
        let _raw = raw.transpose().map_err(SessionError::Local)?;
        let outcome = self.converse(stream, &output, &failures, signals, with_tty).await;
        if matches!(outcome, Ok(Outcome::Interrupted(_))) {
            return outcome;
        }
        // Who reads the output may take his time; a signal says that he has had enough, and not all of it.
        let drained = signals.unless_caught(output.drain()).await;
        #[allow(clippy::disallowed_methods, reason = "the guard ends inside the statement")]
        let failed = *failures.borrow();
        match (failed, drained) {
            (Some(failure), _) => Err(failure.into()),
            (None, Err(caught)) => outcome.and(Ok(Outcome::Interrupted(caught))),
            (None, Ok(())) => outcome,
        }
    }

    async fn converse(
        self,
        stream: impl AsyncRead + AsyncWrite,
        output: &Output,
        failures: &Failures,
        signals: &mut Signals,
        with_tty: bool,
    ) -> Result<Outcome, SessionError> {
        let (closed, nothing) = mpsc::channel(1);
        drop(closed);
        let (stdin, _reader) = match self.stdin.then(|| super::stdin::forward(failures.clone())) {
            None => (nothing, None),
            Some(reader) => {
                let (pieces, awake) = reader.map_err(SessionError::Local)?;
                (pieces, Some(awake))
            }
        };
        let (wishes, control) = mpsc::channel(16);
        let ports = Ports { stdin, control, stdout: output.stdout.clone(), stderr: output.stderr.clone() };
        let heard = Heard::default();
        let conversation = converse(stream, self.spec, ports, &heard);
        tokio::pin!(conversation);
        // A terminal that does not follow the window's size is better than none.
        let mut resized = if with_tty { signal(SignalKind::window_change()).ok() } else { None };
        let mut interrupt_timer = InterruptTimer::default();
        loop {
            // A full queue means that the guest takes nothing at all; what does not fit in would not help.
            tokio::select! {
                biased;
                failure = failure(failures) => return Err(failure.into()),
                ending = &mut conversation => return Ok(match ending? {
                    Ending::Exit(exit) => Outcome::Exited(exit),
                    Ending::OutputClosed => Outcome::OutputClosed,
                }),
                caught = signals.next() => {
                    if interrupt_timer.is_over(caught, with_tty, &heard) {
                        return Ok(Outcome::Interrupted(caught));
                    }
                    // See above.
                    let _full = wishes.try_send(Control::Signal(caught.for_guest()));
                }
                () = arrival(&mut resized) => {
                    if let Some(size) = size() {
                        // See above.
                        let _full = wishes.try_send(Control::Resize(size));
                    }
                }
                caught = interrupt_timer.runs_out(&heard) => return Ok(Outcome::Interrupted(caught)),
            }
        }
    }
}

/// When to stop passing signals on and give up on the guest.
///
/// A command may take a signal as it likes, and take its time for that. A guest that gives no sign of life
/// cannot (an agent answers each signal), and who hung up or sent SIGTERM does not wait for long either.
#[derive(Default)]
struct InterruptTimer {
    /// When the last Ctrl-C came, and how much output had been heard by then.
    interrupted: Option<(Instant, u64)>,
    /// Until when the guest must have given a sign of life, and how many it had given before.
    silence: Option<(Instant, u64, Caught)>,
    limit: Option<(Instant, Caught)>,
}

impl InterruptTimer {
    fn is_over(&mut self, caught: Caught, with_tty: bool, heard: &Heard) -> bool {
        let now = Instant::now();
        self.silence.get_or_insert((now + SILENCE_LIMIT, heard.frames.get(), caught));
        match caught {
            // With a terminal, keys are bytes; these two come from outside and mean this process.
            Caught::Hup | Caught::Term if with_tty => return true,
            Caught::Hup => self.limit_to(now + HANG_UP_LIMIT, caught),
            Caught::Term => self.limit_to(now + TERM_LIMIT, caught),
            Caught::Int => {
                let said = heard.output.get();
                let before = self.interrupted.replace((now, said));
                return before.is_some_and(|(at, then)| at + IMPATIENCE > now && then == said);
            }
            Caught::Quit => {}
        }
        false
    }

    fn limit_to(&mut self, at: Instant, caught: Caught) {
        if self.limit.is_none_or(|(limit, _)| at < limit) {
            self.limit = Some((at, caught));
        }
    }

    /// Waits for the moment to give up. Safe to drop half-way.
    async fn runs_out(&mut self, heard: &Heard) -> Caught {
        loop {
            let silence = self.silence.map(|(until, ..)| until);
            let next = [silence, self.limit.map(|(at, _)| at)].into_iter().flatten().min();
            let Some(next) = next else { return std::future::pending().await };
            tokio::time::sleep_until(next).await;
            if let Some(caught) = self.look(next, heard) {
                return caught;
            }
        }
    }

    /// Is it time to give up?
    fn look(&mut self, now: Instant, heard: &Heard) -> Option<Caught> {
        match self.silence {
            Some((until, before, caught)) if until <= now => {
                if heard.frames.get() == before {
                    return Some(caught);
                }
                self.silence = None;
            }
            _ => {}
        }
        self.limit.filter(|(at, _)| *at <= now).map(|(_, caught)| caught)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(frames: u64, output: u64) -> Heard {
        Heard { frames: frames.into(), output: output.into() }
    }

    #[test]
    fn a_second_ctrl_c_gives_up_only_on_a_silent_command() {
        let mut interrupt_timer = InterruptTimer::default();
        assert!(!interrupt_timer.is_over(Caught::Int, false, &heard(5, 5)));
        assert!(!interrupt_timer.is_over(Caught::Int, false, &heard(7, 6)), "it said something in between");
        assert!(interrupt_timer.is_over(Caught::Int, false, &heard(8, 6)));
    }

    #[test]
    fn with_a_terminal_outside_signals_are_for_the_client() {
        let mut interrupt_timer = InterruptTimer::default();
        assert!(interrupt_timer.is_over(Caught::Term, true, &heard(0, 0)));
        assert!(interrupt_timer.is_over(Caught::Hup, true, &heard(0, 0)));
        assert!(!interrupt_timer.is_over(Caught::Term, false, &heard(0, 0)));
        assert!(!interrupt_timer.is_over(Caught::Hup, false, &heard(0, 0)));
    }

    /// After how many seconds a signal ends it, in a guest that answers it or not.
    fn limit_s(caught: Caught, answered: bool) -> Option<u64> {
        let (mut interrupt_timer, heard) = (InterruptTimer::default(), heard(3, 3));
        assert!(!interrupt_timer.is_over(caught, false, &heard));
        heard.frames.set(3 + u64::from(answered));
        let began = Instant::now();
        (1..60).find(|s| interrupt_timer.look(began + Duration::from_secs(*s), &heard) == Some(caught))
    }

    #[test]
    fn a_silent_guest_is_given_up_and_a_live_one_gets_its_time() {
        for caught in [Caught::Int, Caught::Quit, Caught::Term, Caught::Hup] {
            assert_eq!(limit_s(caught, false), Some(2), "{caught:?}");
        }
        assert_eq!(limit_s(Caught::Hup, true), Some(2));
        assert_eq!(limit_s(Caught::Term, true), Some(5));
        assert_eq!(limit_s(Caught::Int, true), None);
        assert_eq!(limit_s(Caught::Quit, true), None);
    }

    #[test]
    fn a_limit_ends_a_wait() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let mut interrupt_timer =
            InterruptTimer { limit: Some((Instant::now(), Caught::Term)), ..InterruptTimer::default() };
        assert_eq!(runtime.block_on(interrupt_timer.runs_out(&Heard::default())), Caught::Term);
    }
}
