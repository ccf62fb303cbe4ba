//! How far a pull is.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often progress is told at most.
const INTERVAL: Duration = Duration::from_millis(50);

/// How far a pull or a download is, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// All that there is to be.
    pub total_bytes: u64,
    /// What of it is in place by now.
    pub done_bytes: u64,
    /// What of that was in place before: from earlier downloads, whole or broken off.
    pub reused_bytes: u64,
}

/// Adds up what several downloads tell.
pub(super) struct Tally<'a> {
    state: Mutex<State>,
    tell: &'a (dyn Fn(Progress) + Send + Sync),
}

struct State {
    progress: Progress,
    reported: Option<(Instant, Progress)>,
}

/// One download's part of a tally.
pub(super) struct Share<'a> {
    tally: &'a Tally<'a>,
    done_bytes: u64,
    reused_bytes: u64,
}

impl<'a> Tally<'a> {
    pub(super) fn new(total_bytes: u64, tell: &'a (dyn Fn(Progress) + Send + Sync)) -> Self {
        let progress = Progress { total_bytes, ..Progress::default() };
        Self { state: Mutex::new(State { progress, reported: None }), tell }
    }

    pub(super) fn share(&'a self) -> Share<'a> {
        Share { tally: self, done_bytes: 0, reused_bytes: 0 }
    }

    /// Tells how far all are together, if that is new and was not told a moment ago (or must be told).
    fn tell(&self, change: impl FnOnce(&mut Progress), at_once: bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state.progress);
        let now = Instant::now();
        let news = match state.reported {
            None => true,
            Some((when, what)) => what != state.progress && (at_once || now - when >= INTERVAL),
        };
        if news {
            state.reported = Some((now, state.progress));
            (self.tell)(state.progress);
        }
    }

    /// Tells what was held back.
    pub(super) fn end(&self) {
        self.tell(|_| (), true);
    }
}

impl Share<'_> {
    pub(super) fn reused_bytes(&self) -> u64 {
        self.reused_bytes
    }

    /// This much is in place, and this much of it was before.
    pub(super) fn set(&mut self, done_bytes: u64, reused_bytes: u64) {
        let (done_before, reused_before) = (self.done_bytes, self.reused_bytes);
        (self.done_bytes, self.reused_bytes) = (done_bytes, reused_bytes);
        self.tally.tell(
            |progress| {
                progress.done_bytes = (progress.done_bytes + done_bytes).saturating_sub(done_before);
                progress.reused_bytes = (progress.reused_bytes + reused_bytes).saturating_sub(reused_before);
            },
            false,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_and_the_end_is_told() {
        let reported = Mutex::new(Vec::new());
        let tell = |progress| reported.lock().unwrap().push(progress);
        let tally = Tally::new(100, &tell);
        let (mut a, mut b) = (tally.share(), tally.share());
        a.set(30, 30);
        b.set(60, 0);
        b.set(10, 0);
        b.set(70, 0);
        tally.end();
        tally.end();
        let reported = reported.into_inner().unwrap();
        assert_eq!(reported.first(), Some(&Progress { total_bytes: 100, done_bytes: 30, reused_bytes: 30 }));
        assert_eq!(reported.last(), Some(&Progress { total_bytes: 100, done_bytes: 100, reused_bytes: 30 }));
        assert!(reported.len() <= 3, "{reported:?}");
    }
}
