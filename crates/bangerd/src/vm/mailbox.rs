//! How to reach a VM's actor: what can be asked of it, and what it answers.

use std::sync::Arc;
use std::time::Duration;

use banger_api::vm::VmState;
use banger_host::process::ProcessHandle;
use tokio::sync::{mpsc, oneshot};

use super::VmError;
use super::state::{Request, State};
use super::view::VmView;
use super::workspace::WorkspaceSlot;
use crate::identity::VmId;
use crate::latest::Follower;
use crate::operation::Reporter;

/// What an actor is sent.
pub(super) enum Mail {
    Request(PendingRequest),
    /// Keeps another egress policy.
    SetEgress {
        texts: Vec<String>,
        reply: oneshot::Sender<Result<(), VmError>>,
    },
}

/// What somebody wants of a VM, and where to tell them how it went.
pub(super) struct PendingRequest {
    pub(super) request: Request,
    /// How long a guest may take to shut down, where it is asked to.
    pub(super) grace: Duration,
    pub(super) reporter: Reporter,
    pub(super) reply: oneshot::Sender<Result<Answer, Arc<VmError>>>,
}

/// How it went.
pub(super) struct Answer {
    pub(super) view: VmView,
    /// The last stop had to kill.
    pub(super) killed: bool,
}

/// How to reach an actor.
#[derive(Clone)]
pub(super) struct VmHandle {
    pub(super) requests: mpsc::Sender<Mail>,
    pub(super) view: Follower<VmView>,
    pub(super) workspace: Arc<WorkspaceSlot>,
}

/// So long it takes until a VMM that has died is noticed.
const LAG: Duration = Duration::from_millis(500);

impl VmHandle {
    /// Does `work`, but only as long as the VM runs and the work is wanted.
    pub(super) async fn while_running<T>(
        &self,
        reporter: &Reporter,
        work: impl Future<Output = Result<T, VmError>>,
    ) -> Result<T, VmError> {
        let mut views = self.view.clone();
        let outcome = tokio::select! {
            biased;
            outcome = work => outcome,
            () = reporter.cancelled().cancelled() => return Err(VmError::Cancelled),
            view = views.wait_for(|view| view.state != State::Running) => {
                Err(self.not_running(view.as_ref().map_or(State::Gone.to_api(), VmView::api_state)))
            }
        };
        // A VM that dies takes its connections with it, and the work may be the first to see that.
        if outcome.as_ref().is_err_and(VmError::is_lost_connection) {
            // If it does not turn out to have died, the connection is what is wrong.
            let _ = tokio::time::timeout(LAG, views.wait_for(|view| view.state != State::Running)).await;
        }
        outcome.map_err(|error| match self.view() {
            view if view.state == State::Running => error,
            view => self.not_running(view.api_state()),
        })
    }

    fn not_running(&self, state: VmState) -> VmError {
        VmError::NotRunning { name: self.view.part(|view| view.row.name.to_string()), state }
    }

    /// The VM as it is now.
    pub(super) fn view(&self) -> VmView {
        VmView { workspace: self.workspace.current(), ..self.view.get() }
    }

    /// What it is doing, and its name if it lives by a connection.
    pub(super) fn state_and_lease(&self) -> (State, Option<String>) {
        self.view.part(|view| (view.state, view.is_leased().then(|| view.row.name.to_string())))
    }

    /// Which VM it is, when nothing of it runs and nothing is known to be wrong with it.
    pub(super) fn at_rest(&self) -> Option<VmId> {
        self.view.part(|view| {
            let rests = view.state == State::Stopped && view.broken.is_none() && view.row.is_complete();
            rests.then(|| view.row.id.clone())
        })
    }

    /// The process that runs the VM.
    pub(super) fn vmm(&self) -> Option<ProcessHandle> {
        self.view.part(|view| view.running.as_ref().map(|running| running.process.clone()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;
    use crate::latest::Latest;
    use crate::store::VmRow;

    fn handle(row: &VmRow) -> (Latest<VmView>, VmHandle) {
        let view = Latest::new(VmView::stopped(row.clone()));
        let (requests, _) = mpsc::channel(1);
        let handle = VmHandle { requests, view: view.follow(), workspace: Arc::default() };
        (view, handle)
    }

    #[tokio::test]
    async fn work_that_fails_because_the_vm_was_killed_says_that_it_does_not_run() {
        let (view, handle) = handle(&VmRow::example("0123456789ab", "brave-otter"));
        let fails = || async { Err::<(), _>(VmError::Cancelled) };
        let failed = handle.while_running(&Reporter::unwatched(), fails()).await;
        assert!(matches!(failed, Err(VmError::NotRunning { .. })), "{failed:?}");
        view.set(VmView { state: State::Running, ..handle.view() });
        let failed = handle.while_running(&Reporter::unwatched(), fails()).await;
        assert!(matches!(failed, Err(VmError::Cancelled)), "{failed:?}");
    }

    /// `while_running` once held the view's read lock while it took it a second time. With a writer between
    /// the two, both workers waited for ever, and the whole daemon with them. On that code this ends within a
    /// second, in the panic.
    #[test]
    fn readers_and_the_writer_of_a_view_never_wait_for_each_other() {
        const ROUNDS: usize = 20_000;
        let (view, handle) = handle(&VmRow::example("0123456789ab", "brave-otter"));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).build().unwrap();
        let (done, ended) = channel();
        for _ in 0..3 {
            let (handle, done) = (handle.clone(), done.clone());
            runtime.spawn(async move {
                for _ in 0..ROUNDS {
                    let never = std::future::pending::<Result<(), VmError>>();
                    let cut = handle.while_running(&Reporter::unwatched(), never).await;
                    assert!(matches!(cut, Err(VmError::NotRunning { .. })));
                    tokio::task::yield_now().await;
                }
                done.send(()).unwrap();
            });
        }
        let writer = {
            let row = handle.view().row;
            runtime.spawn(async move {
                loop {
                    view.set(VmView::stopped(row.clone()));
                    tokio::task::yield_now().await;
                }
            })
        };
        let all = (0..3).all(|_| ended.recv_timeout(Duration::from_secs(20)).is_ok());
        writer.abort();
        runtime.shutdown_background();
        assert!(all, "readers and the writer wait for each other");
    }
}
