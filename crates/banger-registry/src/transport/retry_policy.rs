//! When to try again, and when to give up.

use std::time::Duration;

use crate::error::RegistryError;
use crate::settings::Retries;

/// Counts failures in a row.
#[derive(Debug)]
pub(crate) struct RetryPolicy {
    retries: Retries,
    failures: u32,
    unreachable_is_final: bool,
}

impl RetryPolicy {
    /// For a transfer: the network may be away for a while.
    pub(crate) fn new(retries: Retries) -> Self {
        Self { retries, failures: 0, unreachable_is_final: false }
    }

    /// For the first words with a host: that it cannot be reached is said at once.
    pub(crate) fn at_first_contact(retries: Retries) -> Self {
        Self { unreachable_is_final: true, ..Self::new(retries) }
    }

    /// Something new has arrived.
    pub(crate) fn renew(&mut self) {
        self.failures = 0;
    }

    /// Pauses, if it is worth while to try again.
    ///
    /// # Errors
    /// Gives the failure back if it is not.
    pub(crate) async fn wait_out(&mut self, failure: RegistryError) -> Result<(), RegistryError> {
        match self.pause(&failure) {
            Some(pause) => {
                tokio::time::sleep(pause).await;
                Ok(())
            }
            None => Err(failure),
        }
    }

    /// Pauses after a failure that has no error of its own, unless there were too many.
    pub(crate) async fn wait(&mut self) -> bool {
        self.failures += 1;
        let again = self.failures < self.retries.attempts;
        if again {
            tokio::time::sleep(self.retries.pause_after(self.failures)).await;
        }
        again
    }

    fn pause(&mut self, failure: &RegistryError) -> Option<Duration> {
        let unreachable = matches!(failure, RegistryError::Unreachable { .. });
        if !failure.is_transient() || (unreachable && self.unreachable_is_final) {
            return None;
        }
        self.failures += 1;
        if self.failures >= self.retries.attempts {
            return None;
        }
        let pause = self.retries.pause_after(self.failures);
        match failure.retry_after() {
            // Sooner than it wants is pointless, and later than a person would wait as well.
            Some(wanted) if wanted > self.retries.longest_pause => None,
            Some(wanted) => Some(wanted.max(pause)),
            None => Some(pause),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Answer, Asked};

    fn limited(retry_after: Option<u64>) -> RegistryError {
        RegistryError::TooManyRequests {
            asked: Asked { host: "h".to_owned(), what: "w".to_owned() },
            answer: Answer { status: 429, message: None },
            retry_after: retry_after.map(Duration::from_secs),
        }
    }

    #[test]
    fn retries_end_and_comes_back_with_progress() {
        let mut retries = RetryPolicy::new(Retries { attempts: 3, ..Retries::default() });
        for _ in 0..3 {
            assert!(retries.pause(&limited(None)).is_some());
            assert!(retries.pause(&limited(None)).is_some());
            assert!(retries.pause(&limited(None)).is_none());
            retries.renew();
        }
    }

    #[test]
    fn a_server_may_ask_for_a_bounded_pause() {
        let mut retries = RetryPolicy::new(Retries::default());
        assert_eq!(retries.pause(&limited(Some(7))), Some(Duration::from_secs(7)));
        assert_eq!(retries.pause(&limited(Some(0))), Some(Duration::from_secs(1)));
        assert_eq!(retries.pause(&limited(Some(86_400))), None);
    }

    #[test]
    fn what_will_not_change_is_not_tried_again() {
        let mut retries = RetryPolicy::new(Retries::default());
        let lie = RegistryError::NotText { what: "x".to_owned() };
        assert_eq!(retries.pause(&lie), None);
    }
}
