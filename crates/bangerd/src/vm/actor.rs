//! One task per VM, the only code that changes it.
//!
//! It holds at most one job (a start, a stop, ...) and polls it beside its mailbox, so it always listens.
//! Whoever wants something waits in `waiters`; whenever something has happened, [`super::state::decide`] is
//! asked again for each of them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::create::{self, Create};
use super::forward::Forwards;
use super::job::{ActiveJob, JobEnd, poll_job, wait_exit};
use super::mailbox::{Answer, Mail, PendingRequest, VmHandle};
use super::registry::{Services, VmTable};
use super::start::{self, Start, Started};
use super::state::{Decision, Job, Request, State, decide};
use super::view::{RunningView, VmView};
use super::workspace::WorkspaceSlot;
use super::{VmError, delete, egress, returned, steps, stop};
use crate::clock::unix_ms;
use crate::image::WantedImage;
use crate::latest::Latest;
use crate::operation::Reporter;
use crate::store::VmRow;
use crate::store::words::Lifetime;

/// How long a guest that was asked to shut down by an earlier daemon may still take.
const STOP_AGAIN_MIN: Duration = Duration::from_secs(3);
/// The clock may have jumped since.
const STOP_AGAIN_MAX: Duration = Duration::from_secs(60);

/// What an actor begins with.
pub(super) enum Initial {
    /// The row is there, nothing else; somebody waits for the rest.
    Create(PendingRequest, WantedImage),
    Stopped,
    Running(Started),
    /// A process was found, but not whether it ever came up.
    Adopt(ActiveJob),
    /// An earlier deletion did not get through.
    HalfDeleted,
    /// Something of it is missing or unreadable: why it cannot be used.
    Broken(String),
}

/// What the job under way means to somebody who waits.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WaitReason {
    /// Nothing yet.
    None,
    /// Its failure is theirs, too.
    Outcome,
    /// They only want it out of the way.
    Interruption,
}

struct Waiter {
    pending: PendingRequest,
    reason: WaitReason,
}

pub(super) struct Actor {
    services: Arc<Services>,
    table: VmTable,
    row: VmRow,
    state: State,
    job: Option<ActiveJob>,
    running: Option<RunningView>,
    waiters: Vec<Waiter>,
    killed: bool,
    last_error: Option<String>,
    broken: Option<String>,
    workspace: Arc<WorkspaceSlot>,
    view: Latest<VmView>,
}

impl Actor {
    /// Makes the actor of the VM of `row`, known to `table` from now on.
    pub(super) fn spawn(services: Arc<Services>, table: VmTable, row: VmRow, initial: Initial) -> VmHandle {
        let id = row.id.clone();
        let (requests, mailbox) = mpsc::channel(16);
        let stored = services.store.workspace(&id).unwrap_or_else(|error| {
            // The VM can do without; the next preparation replaces it.
            tracing::error!(%id, causes = ?crate::causes::chain(&error), "the workspace's row cannot be read");
            None
        });
        let workspace = Arc::new(WorkspaceSlot::new(stored));
        let view = Latest::new(VmView::stopped(row.clone()));
        let watcher = view.follow();
        let mut actor = Self {
            services,
            table: table.clone(),
            row,
            state: State::Stopped,
            job: None,
            running: None,
            waiters: Vec::new(),
            killed: false,
            last_error: None,
            broken: None,
            workspace: workspace.clone(),
            view,
        };
        match initial {
            Initial::Stopped => {}
            Initial::Create(pending, image) => actor.begin_create(pending, image),
            Initial::Running(started) => {
                let stopping = started.handles.stopping_until_unix_ms;
                actor.came_up(started);
                stopping.into_iter().for_each(|until| actor.stop_again(until));
            }
            Initial::Broken(why) => actor.broken = Some(why),
            Initial::Adopt(job) => (actor.state, actor.job) = (State::Starting, Some(job)),
            Initial::HalfDeleted => actor.state = State::Deleting,
        }
        actor.publish();
        let handle = VmHandle { requests, view: watcher, workspace };
        table.insert(id, handle.clone());
        tokio::spawn(actor.run(mailbox));
        handle
    }

    async fn run(mut self, mut mailbox: mpsc::Receiver<Mail>) {
        loop {
            self.answer_waiters();
            self.publish();
            if self.state == State::Gone {
                break;
            }
            let exit =
                self.running.as_ref().filter(|_| self.job.is_none()).map(|running| running.process.clone());
            tokio::select! {
                end = poll_job(&mut self.job), if self.job.is_some() => self.ended(end),
                mail = mailbox.recv() => match mail {
                    Some(Mail::Request(pending)) => {
                        self.waiters.push(Waiter { pending, reason: WaitReason::None });
                    }
                    Some(Mail::SetEgress { texts, reply }) => {
                        let kept = egress::keep(&self.services, &self.row, self.state, &self.workspace, texts);
                        // Who has gone away meanwhile needs no answer.
                        let _ = reply.send(kept.map(|row| self.row = row));
                    }
                    // The daemon is going down.
                    None => break,
                },
                status = wait_exit(exit.as_ref()), if exit.is_some() => self.vmm_exited(status),
                () = returned::is_whole(&self.services, &self.row),
                    if self.broken.is_some() && self.state == State::Stopped => self.is_whole_again(),
            }
        }
        self.table.remove(&self.row.id);
    }

    /// Asks `decide` for everybody who waits, until nothing more can be said or begun.
    fn answer_waiters(&mut self) {
        let mut index = 0;
        while index < self.waiters.len() {
            let request = self.waiters[index].pending.request;
            match decide(self.state, self.job.is_some(), request) {
                Decision::Satisfied => {
                    let answer = Answer { view: self.current_view(), killed: self.killed };
                    self.reply(index, Ok(answer));
                }
                Decision::Denied => {
                    let error = VmError::Denied {
                        action: request.verb(),
                        name: self.row.name.to_string(),
                        state: self.state,
                    };
                    self.reply(index, Err(Arc::new(error)));
                }
                Decision::Begin(job) => {
                    self.waiters[index].reason = WaitReason::Outcome;
                    self.begin(job, index);
                    index += 1;
                }
                Decision::Wait => {
                    self.waiters[index].reason = WaitReason::Outcome;
                    index += 1;
                }
                Decision::Interrupt => {
                    let waiter = &mut self.waiters[index];
                    if waiter.reason != WaitReason::Outcome {
                        waiter.reason = WaitReason::Interruption;
                        if let Some(job) = &self.job {
                            job.cancel.cancel();
                        }
                    }
                    index += 1;
                }
            }
        }
    }

    fn reply(&mut self, index: usize, answer: Result<Answer, Arc<VmError>>) {
        let waiter = self.waiters.remove(index);
        // Who has gone away meanwhile needs no answer.
        let _ = waiter.pending.reply.send(answer);
    }

    fn begin_create(&mut self, pending: PendingRequest, image: WantedImage) {
        let cancel = pending.reporter.cancelled().child_token();
        let mut create =
            Create::new(self.services.clone(), pending.reporter.clone(), self.row.clone(), image);
        self.waiters.push(Waiter { pending, reason: WaitReason::None });
        let token = cancel.clone();
        let future = Box::pin(async move {
            let outcome = steps::run(create::STEPS, &mut create, &token).await;
            JobEnd::Created(outcome.map(|()| create.row))
        });
        self.state = State::Creating;
        self.job = Some(ActiveJob { cancel, future });
    }

    fn begin(&mut self, job: Job, index: usize) {
        let pending = &self.waiters[index].pending;
        let (reporter, grace) = (pending.reporter.clone(), pending.grace);
        let (cancel, future): (_, Pin<Box<dyn Future<Output = JobEnd> + Send>>) = match job {
            Job::Start => {
                self.state = State::Starting;
                self.last_error = None;
                let cancel = reporter.cancelled().child_token();
                let mut start = Start::new(self.services.clone(), reporter, self.row.clone());
                let (token, services, row) = (cancel.clone(), self.services.clone(), self.row.clone());
                let future = async move {
                    if let Some(started) = returned::running(&services, &row) {
                        return JobEnd::Started(Ok(started));
                    }
                    if let Err(error) = returned::end_unfinished(&services.paths.vm(&row.id)).await {
                        return JobEnd::Started(Err(error));
                    }
                    let outcome = steps::run(start::STEPS, &mut start, &token).await;
                    JobEnd::Started(outcome.and_then(|()| start.into_started()))
                };
                (cancel, Box::pin(future))
            }
            Job::Stop | Job::Kill => {
                self.state = State::Stopping;
                stop::note(&self.services.paths.vm(&self.row.id), grace);
                let cancel = CancellationToken::new();
                if job == Job::Kill {
                    cancel.cancel();
                }
                let target = self.running.clone();
                let (token, dir) = (cancel.clone(), self.services.paths.vm(&self.row.id));
                let future = async move {
                    let Some(target) = target else { return JobEnd::Stopped(Ok(false)) };
                    let outcome = stop::shut_down(&target, grace, &reporter, &token).await;
                    JobEnd::Stopped(outcome.and_then(|killed| stop::clean_up(&dir).map(|()| killed)))
                };
                (cancel, Box::pin(future))
            }
            Job::Delete => {
                self.state = State::Deleting;
                let (services, row) = (self.services.clone(), self.row.clone());
                let future = async move { JobEnd::Deleted(delete::delete(&services, &row, &reporter).await) };
                (CancellationToken::new(), Box::pin(future))
            }
        };
        self.job = Some(ActiveJob { cancel, future });
    }

    fn ended(&mut self, end: JobEnd) {
        self.job = None;
        let was = self.state;
        let (state, failure) = match end {
            JobEnd::Created(Ok(row)) => {
                self.row = row;
                (State::Stopped, None)
            }
            JobEnd::Created(Err(error)) => (State::Gone, Some(error)),
            JobEnd::Started(Ok(started)) => {
                self.came_up(started);
                (State::Running, None)
            }
            JobEnd::Started(Err(error)) => (State::Stopped, Some(error)),
            JobEnd::Stopped(Ok(killed)) => {
                self.killed = killed;
                self.running.take().into_iter().for_each(RunningView::end);
                (State::Stopped, None)
            }
            JobEnd::Stopped(Err(error)) => (State::Running, Some(error)),
            JobEnd::Deleted(Ok(())) => (State::Gone, None),
            JobEnd::Deleted(Err(error)) => (State::Deleting, Some(error)),
        };
        self.state = state;
        let (vm, id, failed) = (&self.row.name, &self.row.id, failure.is_some());
        tracing::info!(%vm, %id, from = ?was, to = ?state, failed, "changed state");
        if let Some(error) = failure {
            if let VmError::Broken { why, .. } = &error {
                self.broken = Some(why.clone());
            }
            self.failed(Arc::new(error));
        }
        for waiter in &mut self.waiters {
            waiter.reason = WaitReason::None;
        }
        if state == State::Stopped && was != State::Creating {
            self.remove_unless_kept();
        }
    }

    /// Tells those who waited for the outcome of the job that has just failed.
    fn failed(&mut self, error: Arc<VmError>) {
        if !matches!(*error, VmError::Cancelled) {
            self.last_error = Some(crate::causes::on_one_line(&*error));
        }
        while let Some(index) = self.waiters.iter().position(|waiter| waiter.reason == WaitReason::Outcome) {
            self.reply(index, Err(error.clone()));
        }
    }

    fn came_up(&mut self, started: Started) {
        let Started { process, guest, pause_watch, gateway, handles, bound } = started;
        let ports = self.services.host_ports.clone();
        let forwards = Forwards::begin(&self.row, guest.clone(), ports, bound);
        gateway.iter().for_each(|gateway| egress::catch_up(&self.services, &self.row, gateway));
        let shown = RunningView {
            process,
            acceleration: handles.acceleration.into(),
            guest_init: handles.guest_init,
            started_at_unix_ms: handles.started_at_unix_ms,
            guest,
            pause_watch,
            gateway,
            forwards,
        };
        self.running = Some(shown);
        (self.state, self.last_error, self.broken) = (State::Running, None, None);
    }

    fn is_whole_again(&mut self) {
        self.broken = None;
        returned::running(&self.services, &self.row).into_iter().for_each(|started| self.came_up(started));
    }

    /// The guest powered off by itself, or its VMM died.
    fn vmm_exited(&mut self, status: Option<std::process::ExitStatus>) {
        tracing::info!(vm = %self.row.name, ?status, "the VM's process ended by itself");
        self.running.take().into_iter().for_each(RunningView::end);
        self.state = State::Stopped;
        self.last_error = match status {
            Some(status) if !status.success() => Some(format!("the VM's process ended with {status}")),
            _ => None,
        };
        if let Err(error) = stop::clean_up(&self.services.paths.vm(&self.row.id)) {
            tracing::warn!(vm = %self.row.name, causes = ?crate::causes::chain(&error), "could not clean up");
        }
        self.remove_unless_kept();
    }

    /// A VM that lives only until it stops has just stopped.
    fn remove_unless_kept(&mut self) {
        if self.row.spec.lifetime == Lifetime::Kept {
            return;
        }
        self.want(Request::Delete { force: true }, Duration::ZERO);
    }

    /// Asks for something on nobody's behalf.
    fn want(&mut self, request: Request, grace: Duration) {
        let (reply, _) = oneshot::channel();
        let pending = PendingRequest { request, grace, reporter: Reporter::unwatched(), reply };
        self.waiters.push(Waiter { pending, reason: WaitReason::None });
    }

    fn current_view(&self) -> VmView {
        let running = self.running.clone();
        VmView {
            row: self.row.clone(),
            state: self.state,
            running,
            last_error: self.last_error.clone(),
            broken: self.broken.clone(),
            workspace: self.workspace.current(),
        }
    }

    /// Goes on with a stop that an earlier daemon began.
    fn stop_again(&mut self, until_unix_ms: u64) {
        let left = Duration::from_millis(until_unix_ms.saturating_sub(unix_ms()));
        self.want(Request::Stop, left.clamp(STOP_AGAIN_MIN, STOP_AGAIN_MAX));
        self.answer_waiters();
    }

    fn publish(&self) {
        self.view.set(self.current_view());
    }
}
