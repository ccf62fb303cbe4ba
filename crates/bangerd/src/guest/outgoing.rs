//! A long body on its way to the guest: how to call it off, and how to tell a guest that is stuck from a
//! sender that is slow.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use hyper::body::Frame;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};

/// How long a guest may neither take nor give a byte.
pub(super) const SILENCE_LIMIT: Duration = Duration::from_secs(60);
/// How long a guest may be busy with its disk and say nothing: flushing some gigabytes, removing a large
/// tree.
pub(super) const DISK_LIMIT: Duration = Duration::from_secs(600);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// When the guest took bytes last.
pub(super) struct Movement {
    latest: Mutex<Latest>,
    limit: Duration,
}

struct Latest {
    at: Instant,
    /// The guest has taken everything and it is the sender who has nothing to give.
    awaits_sender: bool,
}

impl Movement {
    pub(super) fn within(limit: Duration) -> Arc<Self> {
        let latest = Mutex::new(Latest { at: Instant::now(), awaits_sender: false });
        Arc::new(Self { latest, limit })
    }

    /// The guest has told of its progress.
    pub(super) fn moved(&self) {
        self.note(false);
    }

    fn note(&self, awaits_sender: bool) {
        *self.latest.lock().unwrap_or_else(PoisonError::into_inner) =
            Latest { at: Instant::now(), awaits_sender };
    }

    /// Comes when the guest has been stuck for too long.
    pub(super) async fn stalled(&self) {
        loop {
            let left = {
                let latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
                let silence = if latest.awaits_sender { Duration::ZERO } else { latest.at.elapsed() };
                self.limit.saturating_sub(silence)
            };
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left).await;
        }
    }
}

/// A body that notes its movement and breaks off when it is called off.
pub(super) struct Outgoing<S> {
    inner: Pin<Box<S>>,
    movement: Arc<Movement>,
    called_off: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl<S> Outgoing<S> {
    /// Dropping the guard calls the body off.
    pub(super) fn new(inner: S, movement: Arc<Movement>) -> (Self, DropGuard) {
        let token = CancellationToken::new();
        let called_off = Box::pin(token.clone().cancelled_owned());
        (Self { inner: Box::pin(inner), movement, called_off }, token.drop_guard())
    }
}

impl<S, E> Stream for Outgoing<S>
where
    S: Stream<Item = Result<Bytes, E>>,
    E: Into<BoxError>,
{
    type Item = Result<Frame<Bytes>, BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.called_off.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some(Err("it was called off".into())));
        }
        let next = self.inner.as_mut().poll_next(cx);
        self.movement.note(next.is_pending());
        next.map(|piece| piece.map(|piece| piece.map(Frame::data).map_err(Into::into)))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::{StreamExt as _, stream};

    use super::*;

    const LIMIT: Duration = Duration::from_millis(40);

    fn pieces() -> impl Stream<Item = Result<Bytes, Infallible>> {
        stream::iter([Ok(Bytes::from_static(b"x"))]).chain(stream::pending())
    }

    #[tokio::test]
    async fn a_slow_sender_is_no_stuck_guest() {
        let movement = Movement::within(LIMIT);
        let (mut body, _until) = Outgoing::new(pieces(), movement.clone());
        assert!(body.next().await.is_some());
        tokio::select! {
            // The body first: only by being asked can it find that its sender has nothing.
            biased;
            _ = body.next() => panic!("there is nothing more"),
            () = movement.stalled() => panic!("the guest has nothing to take"),
            () = tokio::time::sleep(5 * LIMIT) => {}
        }
    }

    #[tokio::test]
    async fn a_guest_that_takes_nothing_is_stuck() {
        let movement = Movement::within(LIMIT);
        let (mut body, _until) = Outgoing::new(pieces(), movement.clone());
        tokio::time::sleep(LIMIT / 2).await;
        // Before the guest takes anything: on a busy machine any time may pass between two lines.
        let start = Instant::now();
        assert!(body.next().await.is_some());
        movement.stalled().await;
        assert!(start.elapsed() >= LIMIT);
    }

    #[tokio::test]
    async fn what_is_called_off_ends_with_an_error() {
        let (mut body, until) = Outgoing::new(pieces(), Movement::within(LIMIT));
        assert!(body.next().await.is_some_and(|piece| piece.is_ok()));
        drop(until);
        assert!(body.next().await.is_some_and(|piece| piece.is_err()));
    }
}
