//! One request at a time downloads or builds a thing; the others wait for it.

use std::collections::HashMap;
use std::hash::Hash;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Mutex as Gate, OwnedMutexGuard};
use tokio::time::timeout;

/// How often one who waits looks at how far the other is.
const LOOK: Duration = Duration::from_millis(200);

/// A gate per thing that somebody downloads or builds.
#[derive(Debug)]
pub struct Flights<K>(Arc<Mutex<HashMap<K, Weak<Gate<()>>>>>);

/// Held by the one whose turn it is.
pub type Turn = OwnedMutexGuard<()>;

impl<K> Default for Flights<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K> Clone for Flights<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K: Hash + Eq + Clone> Flights<K> {
    /// Waits until it is this caller's turn, in the order of arrival; `meanwhile` is called now and then.
    /// Dropping the future gives up the place in the queue.
    pub async fn enter(&self, key: &K, mut meanwhile: impl FnMut()) -> Turn {
        let mut waiting = pin!(self.gate(key).lock_owned());
        loop {
            match timeout(LOOK, waiting.as_mut()).await {
                Ok(turn) => return turn,
                Err(_) => meanwhile(),
            }
        }
    }

    fn gate(&self, key: &K) -> Arc<Gate<()>> {
        let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(gate) = gates.get(key).and_then(Weak::upgrade) {
            return gate;
        }
        gates.retain(|_, gate| gate.strong_count() > 0);
        let gate = Arc::default();
        gates.insert(key.clone(), Arc::downgrade(&gate));
        gate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_at_a_time_and_others_not_at_all_in_the_way() {
        let flights: Flights<&str> = Flights::default();
        let first = flights.enter(&"a", || ()).await;
        let _other = flights.enter(&"b", || ()).await;
        let mut looks = 0;
        let waiting = timeout(Duration::from_secs(1), flights.enter(&"a", || looks += 1));
        assert!(waiting.await.is_err());
        assert!(looks >= 1, "{looks}");
        drop(first);
        let _second = flights.enter(&"a", || ()).await;
        assert_eq!(flights.0.lock().unwrap().len(), 2);
    }
}
