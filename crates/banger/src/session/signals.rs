use banger_api::stream::Signal as GuestSignal;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::CommandError;

/// A signal that asks this process to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caught {
    Hup,
    Int,
    Quit,
    Term,
}

impl Caught {
    const ALL: [Self; 4] = [Self::Hup, Self::Int, Self::Quit, Self::Term];

    fn number(self) -> u8 {
        match self {
            Self::Hup => 1,
            Self::Int => 2,
            Self::Quit => 3,
            Self::Term => 15,
        }
    }

    /// What a shell reports for a program that this signal ended.
    pub(crate) fn exit_code(self) -> u8 {
        128 + self.number()
    }

    pub(super) fn for_guest(self) -> GuestSignal {
        match self {
            Self::Hup => GuestSignal::Hup,
            Self::Int => GuestSignal::Int,
            Self::Quit => GuestSignal::Quit,
            Self::Term => GuestSignal::Term,
        }
    }
}

/// The signals that would end this process; while this exists they come here instead.
pub(crate) struct Signals([Option<Signal>; 4]);

impl Signals {
    /// Takes them over, except those that were ignored when this process started (`nohup`, a shell's `&`).
    ///
    /// # Errors
    ///
    /// When the kernel refuses.
    pub(crate) fn catch() -> std::io::Result<Self> {
        // Without /proc none is known to be ignored.
        let ignored = ignored_mask(&std::fs::read_to_string("/proc/self/status").unwrap_or_default());
        let mut caught = [None, None, None, None];
        for (slot, which) in caught.iter_mut().zip(Caught::ALL) {
            if ignored & 1 << (which.number() - 1) == 0 {
                *slot = Some(signal(SignalKind::from_raw(which.number().into()))?);
            }
        }
        Ok(Self(caught))
    }

    /// Takes none over: they do what they do to any program.
    pub(crate) fn left_alone() -> Self {
        Self([None, None, None, None])
    }

    /// The next one. Safe to drop half-way.
    pub(crate) async fn next(&mut self) -> Caught {
        let [hup, int, quit, term] = &mut self.0;
        tokio::select! {
            () = arrival(hup) => Caught::Hup,
            () = arrival(int) => Caught::Int,
            () = arrival(quit) => Caught::Quit,
            () = arrival(term) => Caught::Term,
        }
    }

    /// `work`'s result, unless a signal comes first.
    pub(crate) async fn unless_caught<T>(&mut self, work: impl Future<Output = T>) -> Result<T, Caught> {
        tokio::select! {
            done = work => Ok(done),
            caught = self.next() => Err(caught),
        }
    }

    /// `work`'s result; a signal that comes first ends the command.
    ///
    /// # Errors
    ///
    /// The work's own, or a quiet one when a signal came.
    pub(crate) async fn or_end<T, E: Into<CommandError>>(
        &mut self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, CommandError> {
        match self.unless_caught(work).await {
            Ok(done) => done.map_err(Into::into),
            Err(caught) => Err(CommandError::Quiet { exit_code: caught.exit_code() }),
        }
    }
}

pub(super) async fn arrival(signal: &mut Option<Signal>) {
    if let Some(signal) = signal
        && signal.recv().await.is_some()
    {
        return;
    }
    std::future::pending().await
}

/// The set of ignored signals, bit n-1 for signal n.
fn ignored_mask(proc_status: &str) -> u64 {
    let line = proc_status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_seen() {
        assert_eq!(ignored_mask("Name:\tx\nSigIgn:\t0000000000001001\n"), 0x1001);
        assert_eq!(ignored_mask("no such line"), 0);
    }
}
