//! Work that takes time: each has an id, a history of [`Event`]s that any number of watchers can follow from
//! the start, and can be called off.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use banger_api::operation::{FileCount, ProgressUnit, Stage};
use banger_api::{ApiError, ErrorCode, Event};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::clock::unix_ms;
use crate::download::Environment;
use crate::latest::Latest;

/// How many ended operations are remembered, for those who look a little late.
const REMEMBERED: usize = 64;

/// Progress faster than people read is dropped.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);

/// All operations of the daemon.
#[derive(Clone, Default)]
pub struct Operations {
    known: Arc<Mutex<VecDeque<Arc<Operation>>>>,
    next_id: Arc<AtomicU64>,
}

/// One of them.
pub struct Operation {
    pub id: String,
    pub title: String,
    pub started_at_unix_ms: u64,
    environment: Environment,
    cancel: CancellationToken,
    history: Mutex<Vec<Event>>,
    length: Latest<usize>,
}

impl Operation {
    fn new(id: String, title: String) -> Self {
        Self {
            id,
            title,
            started_at_unix_ms: unix_ms(),
            environment: Environment::of_caller(),
            cancel: CancellationToken::new(),
            history: Mutex::default(),
            length: Latest::new(0),
        }
    }

    fn push(&self, event: Event) {
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        // Work that was cut off may still have something to say; the last event stays the last.
        if !ended(&history) {
            history.push(event);
            self.length.set(history.len());
        }
    }

    pub fn done(&self) -> bool {
        ended(&self.history.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The event number `index`, as soon as there is one; none after the last.
    pub async fn event(&self, index: usize) -> Option<Event> {
        let mut length = self.length.follow();
        loop {
            {
                let history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(event) = history.get(index) {
                    return Some(event.clone());
                }
                if ended(&history) {
                    return None;
                }
            }
            length.wait_for(|length| *length > index).await?;
        }
    }

    /// Calls it off. It ends when what it did has been undone.
    pub fn cancel(&self) {
        self.cancel.cancel();
    }
}

fn ended(history: &[Event]) -> bool {
    matches!(history.last(), Some(Event::Succeeded { .. } | Event::Failed { .. }))
}

impl Operations {
    /// Runs `work` to its end, whether anybody watches or not; those who do see its result as JSON.
    pub fn spawn<T, F, W>(&self, title: impl Into<String>, work: W) -> Arc<Operation>
    where
        W: FnOnce(Reporter) -> F,
        F: Future<Output = Result<T, ApiError>> + Send + 'static,
        T: Serialize,
    {
        let id = format!("op{}", self.next_id.fetch_add(1, Ordering::Relaxed) + 1);
        let operation = Arc::new(Operation::new(id, title.into()));
        operation.push(Event::Accepted { operation: operation.id.clone() });
        self.remember(operation.clone());
        let reporter = Reporter { operation: operation.clone(), last_progress: Arc::default() };
        let work = work(reporter);
        let ended = operation.clone();
        let run = async move {
            let as_json = |result| {
                serde_json::to_value(result).map_err(|error| ApiError::from_error(ErrorCode::Failed, &error))
            };
            let last = match work.await.and_then(as_json) {
                Ok(result) => Event::Succeeded { result },
                Err(error) => {
                    tracing::warn!(operation = ended.title, error = error.message, causes = ?error.causes, "failed");
                    Event::Failed { error }
                }
            };
            ended.push(last);
            // The next one may be hours away.
            banger_host::system::release_free_memory();
        };
        // What it does by the way, like looking for names that somebody may have meant, is the caller's
        // doing, too.
        tokio::spawn(operation.environment.clone().scope(run));
        operation
    }

    pub fn list(&self) -> Vec<Arc<Operation>> {
        self.known().iter().cloned().collect()
    }

    pub fn get(&self, id: &str) -> Option<Arc<Operation>> {
        self.known().iter().find(|operation| operation.id == id).cloned()
    }

    fn remember(&self, operation: Arc<Operation>) {
        let mut known = self.known();
        known.push_back(operation);
        while known.len() > REMEMBERED {
            let Some(oldest) = known.iter().position(|operation| operation.done()) else { break };
            known.remove(oldest);
        }
    }

    fn known(&self) -> MutexGuard<'_, VecDeque<Arc<Operation>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How work tells what it is doing, and learns that it is not wanted any more.
#[derive(Clone)]
pub struct Reporter {
    operation: Arc<Operation>,
    last_progress: Arc<Mutex<Option<Instant>>>,
}

impl Reporter {
    /// For work that nobody watches.
    pub fn unwatched() -> Self {
        Self {
            operation: Arc::new(Operation::new(String::new(), String::new())),
            last_progress: Arc::default(),
        }
    }

    pub fn event(&self, event: Event) {
        self.operation.push(event);
    }

    pub fn stage(&self, stage: Stage, detail: impl Into<String>) {
        self.event(Event::Stage { stage, detail: detail.into() });
    }

    pub fn notice(&self, text: impl Into<String>) {
        self.event(Event::Notice { text: text.into() });
    }

    pub fn output(&self, line: &str) {
        if self.due() {
            self.event(Event::Output { line: line.to_owned() });
        }
    }

    pub fn progress(&self, done: u64, total: Option<u64>, unit: ProgressUnit) {
        self.transfer(done, total, unit, None);
    }

    /// Progress of what is counted in files as well.
    pub fn transfer(&self, done: u64, total: Option<u64>, unit: ProgressUnit, files: Option<FileCount>) {
        if self.due() {
            self.event(Event::Progress { done, total, unit, files });
        }
    }

    /// The notices so far, for whoever does the rest of the work.
    pub(crate) fn notices(&self) -> Vec<String> {
        let history = self.operation.history.lock().unwrap_or_else(PoisonError::into_inner);
        let text = |event: &Event| match event {
            Event::Notice { text } => Some(text.clone()),
            _ => None,
        };
        history.iter().filter_map(text).collect()
    }

    pub fn cancelled(&self) -> &CancellationToken {
        &self.operation.cancel
    }

    /// How to reach the network, as whoever asked for the work wants it.
    pub fn environment(&self) -> &Environment {
        &self.operation.environment
    }

    fn due(&self) -> bool {
        let mut last = self.last_progress.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|last| last.elapsed() >= PROGRESS_INTERVAL);
        if due {
            *last = Some(Instant::now());
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_work_is_done_in_the_callers_environment() {
        let caller = Environment::of_client([("no_proxy".into(), "x".into())].into());
        let operations = Operations::default();
        let start = async {
            operations.spawn("test", |reporter| async move {
                assert_eq!(*Reporter::unwatched().environment(), *reporter.environment());
                Ok(reporter.environment().get("no_proxy"))
            })
        };
        let operation = caller.scope(start).await;
        let expected = Event::Succeeded { result: serde_json::json!("x") };
        assert_eq!(operation.event(1).await, Some(expected));
    }

    #[tokio::test]
    async fn every_watcher_sees_everything() {
        let operations = Operations::default();
        let (go, wait) = tokio::sync::oneshot::channel::<()>();
        let operation = operations.spawn("test", |reporter| async move {
            reporter.notice("first");
            let _ = wait.await;
            Ok(serde_json::Value::Null)
        });
        let early = {
            let operation = operation.clone();
            tokio::spawn(async move { operation.event(2).await })
        };
        assert!(matches!(operation.event(1).await, Some(Event::Notice { .. })));
        go.send(()).unwrap();
        assert!(matches!(early.await.unwrap(), Some(Event::Succeeded { .. })));
        assert!(matches!(operation.event(0).await, Some(Event::Accepted { .. })));
        assert_eq!(operation.event(3).await, None);
        assert!(operation.done());
    }

    #[tokio::test]
    async fn running_ones_are_never_forgotten() {
        let operations = Operations::default();
        let first = operations.spawn("waits", |reporter| async move {
            reporter.cancelled().cancelled().await;
            Ok(serde_json::Value::Null)
        });
        for _ in 0..2 * REMEMBERED {
            let ended = operations.spawn("ends", |_| async { Ok(serde_json::Value::Null) });
            while ended.event(1).await.is_none() {}
        }
        assert!(operations.get(&first.id).is_some());
        assert!(operations.list().len() <= REMEMBERED);
        first.cancel();
        assert!(matches!(first.event(1).await, Some(Event::Succeeded { .. })));
    }
}
