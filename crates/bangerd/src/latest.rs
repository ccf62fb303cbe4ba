//! A value that one side changes and many look at.
//!
//! The one place of the daemon that touches `tokio::sync::watch`. A `watch::Ref` is a read lock: whoever
//! holds one while he takes a second, with a writer queued in between, waits for ever, and so does the
//! writer. So no lock leaves this module: readers get copies. clippy's `disallowed-methods` keeps it that
//! way.
#![allow(
    clippy::disallowed_methods,
    reason = "this is the wrapper: every lock it takes ends inside the statement"
)]

use tokio::sync::watch;

/// The side that changes the value.
#[derive(Debug)]
pub struct Latest<T>(watch::Sender<T>);

/// A side that looks at it.
#[derive(Debug)]
pub struct Follower<T>(watch::Receiver<T>);

impl<T: Clone> Latest<T> {
    pub fn new(first: T) -> Self {
        Self(watch::Sender::new(first))
    }

    /// Puts a new value in the place of the old one. Waits for readers only while they copy.
    pub fn set(&self, value: T) {
        self.0.send_replace(value);
    }

    pub fn follow(&self) -> Follower<T> {
        Follower(self.0.subscribe())
    }
}

impl<T: Clone> Follower<T> {
    pub fn get(&self) -> T {
        self.0.borrow().clone()
    }

    /// What `part` makes of the value. It runs under the lock: it must look at nothing but its argument.
    pub fn part<R>(&self, part: impl FnOnce(&T) -> R) -> R {
        part(&self.0.borrow())
    }

    /// The first value that is as wanted, the present one included; none when there is nobody left to change
    /// it. `wanted` runs under the lock: it must look at nothing but its argument.
    pub async fn wait_for(&mut self, wanted: impl FnMut(&T) -> bool) -> Option<T> {
        let value = self.0.wait_for(wanted).await;
        value.ok().map(|value| value.clone())
    }
}

impl<T> Clone for Follower<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn followers_get_copies_of_what_they_wait_for() {
        let latest = Latest::new(1);
        let mut follower = latest.follow();
        assert_eq!((follower.get(), follower.wait_for(|n| *n == 1).await), (1, Some(1)));
        assert_eq!(follower.part(|n| n + 1), 2);
        latest.set(2);
        assert_eq!(follower.wait_for(|n| *n == 2).await, Some(2));
        drop(latest);
        assert_eq!((follower.get(), follower.wait_for(|n| *n == 3).await), (2, None));
    }
}
