//! What may happen to a VM now. Pure: no clock, no I/O.

use banger_api::vm::VmState;

/// Where a VM is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Creating,
    Stopped,
    Starting,
    Running,
    Stopping,
    Deleting,
    /// Nothing is left of it.
    Gone,
}

impl State {
    /// The state as clients see it; a VM that is gone is not shown to anybody.
    pub fn to_api(self) -> VmState {
        match self {
            Self::Creating => VmState::Creating,
            Self::Stopped => VmState::Stopped,
            Self::Starting => VmState::Starting,
            Self::Running => VmState::Running,
            Self::Stopping => VmState::Stopping,
            Self::Deleting | Self::Gone => VmState::Deleting,
        }
    }
}

/// What somebody wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// That it exists: the answer to its creation.
    Exist,
    Start,
    /// A clean shutdown.
    Stop,
    /// The VMM's process gone, now.
    Kill,
    /// Everything gone; `force` kills where a shutdown would be tried.
    Delete {
        force: bool,
    },
}

impl Request {
    /// What it asks for, in a sentence: "cannot start".
    pub(super) fn verb(self) -> &'static str {
        match self {
            Self::Exist => "create",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Kill => "kill",
            Self::Delete { .. } => "delete",
        }
    }
}

/// Work that changes the state. At most one at a time is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    Start,
    Stop,
    Kill,
    Delete,
}

/// What is to be done about a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is so: answer.
    Satisfied,
    /// It cannot be: answer.
    Denied,
    /// Begin this job, then decide again when it has ended.
    Begin(Job),
    /// The job under way leads there, or to where it can be decided: decide again when it has ended.
    Wait,
    /// Cut the job under way short; decide again when it has ended.
    Interrupt,
}

/// Decides about `request` for a VM in `state`, in which a job may be under way (`busy`).
pub fn decide(state: State, busy: bool, request: Request) -> Decision {
    use Decision::{Begin, Denied, Interrupt, Satisfied, Wait};
    match (state, request) {
        (State::Gone, Request::Delete { .. }) => Satisfied,
        (State::Gone, _) => Denied,

        (State::Deleting, Request::Delete { .. }) if busy => Wait,
        // An earlier attempt failed half-way.
        (State::Deleting, Request::Delete { .. }) => Begin(Job::Delete),
        (State::Deleting, _) => Denied,

        (State::Creating, Request::Exist | Request::Start) => Wait,
        (State::Creating, Request::Stop | Request::Kill) => Denied,
        (State::Creating, Request::Delete { .. }) => Interrupt,
        (_, Request::Exist) => Satisfied,

        (State::Stopped, Request::Start) => Begin(Job::Start),
        (State::Stopped, Request::Stop | Request::Kill) => Satisfied,
        (State::Stopped, Request::Delete { .. }) => Begin(Job::Delete),

        (State::Starting, Request::Start) => Wait,
        (State::Starting, _) => Interrupt,

        (State::Running, Request::Start) => Satisfied,
        (State::Running, Request::Stop | Request::Delete { force: false }) => Begin(Job::Stop),
        (State::Running, Request::Kill | Request::Delete { force: true }) => Begin(Job::Kill),

        (State::Stopping, Request::Start) => Denied,
        (State::Stopping, Request::Stop | Request::Delete { force: false }) => Wait,
        // A stop that is cut short kills.
        (State::Stopping, Request::Kill | Request::Delete { force: true }) => Interrupt,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STATES: [State; 7] = [
        State::Creating,
        State::Stopped,
        State::Starting,
        State::Running,
        State::Stopping,
        State::Deleting,
        State::Gone,
    ];
    const REQUESTS: [Request; 6] = [
        Request::Exist,
        Request::Start,
        Request::Stop,
        Request::Kill,
        Request::Delete { force: false },
        Request::Delete { force: true },
    ];

    /// In these, a job is always under way; in `Deleting` it may be.
    fn busy_states(state: State) -> &'static [bool] {
        match state {
            State::Creating | State::Starting | State::Stopping => &[true],
            State::Deleting => &[true, false],
            State::Stopped | State::Running | State::Gone => &[false],
        }
    }

    /// Where the job under way in `state` ends when all goes well.
    fn natural_end(state: State) -> State {
        match state {
            State::Creating | State::Stopping => State::Stopped,
            State::Starting => State::Running,
            State::Deleting => State::Gone,
            rest => rest,
        }
    }

    /// Where it ends when it is cut short.
    fn interrupted_end(state: State) -> State {
        match state {
            State::Creating => State::Gone,
            _ => State::Stopped,
        }
    }

    fn begun(job: Job) -> State {
        match job {
            Job::Start => State::Starting,
            Job::Stop | Job::Kill => State::Stopping,
            Job::Delete => State::Deleting,
        }
    }

    /// Follows a request to its answer; none when it takes suspiciously long.
    fn follow(mut state: State, mut busy: bool, request: Request) -> Option<(State, Decision)> {
        for _ in 0..6 {
            match decide(state, busy, request) {
                answer @ (Decision::Satisfied | Decision::Denied) => return Some((state, answer)),
                Decision::Begin(job) => {
                    assert!(!busy, "{request:?} would begin {job:?} beside the job of {state:?}");
                    (state, busy) = (natural_end(begun(job)), false);
                }
                Decision::Wait => {
                    assert!(busy, "{request:?} would wait for nothing in {state:?}");
                    (state, busy) = (natural_end(state), false);
                }
                Decision::Interrupt => {
                    assert!(busy, "{request:?} would interrupt nothing in {state:?}");
                    (state, busy) = (interrupted_end(state), false);
                }
            }
        }
        None
    }

    #[test]
    fn every_request_is_answered_from_every_state() {
        for state in STATES {
            for busy in busy_states(state) {
                for request in REQUESTS {
                    let (end, answer) = follow(state, *busy, request)
                        .unwrap_or_else(|| panic!("{request:?} in {state:?} never ends"));
                    if answer == Decision::Satisfied {
                        let wanted: &[State] = match request {
                            Request::Exist => {
                                &[State::Stopped, State::Starting, State::Running, State::Stopping]
                            }
                            Request::Start => &[State::Running],
                            Request::Stop | Request::Kill => &[State::Stopped],
                            Request::Delete { .. } => &[State::Gone],
                        };
                        assert!(wanted.contains(&end), "{request:?} in {state:?} was satisfied in {end:?}");
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn a_delete_always_comes_through(state in 0..STATES.len(), force: bool) {
            for busy in busy_states(STATES[state]) {
                let end = follow(STATES[state], *busy, Request::Delete { force });
                prop_assert_eq!(end, Some((State::Gone, Decision::Satisfied)));
            }
        }
    }

    #[test]
    fn kill_and_forced_delete_never_wait_for_a_start_or_a_stop() {
        for state in [State::Starting, State::Stopping] {
            for request in [Request::Kill, Request::Delete { force: true }] {
                assert_eq!(decide(state, true, request), Decision::Interrupt);
            }
        }
    }
}
