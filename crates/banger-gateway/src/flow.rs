//! A TCP connection of the guest's: what its frames say, and from when to when it lasts.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use banger_guest_protocol::flow::{
    FLOWS_MAX, FlowError, Header, Kind, Open, Refusal, addresses, parse_credit,
};
use tokio::sync::Notify;

use crate::dial::Peer;
use crate::dns_stream;
use crate::gateway::Gateway;
use crate::log::{Attempt, UNDECIDED, Verdict, now};
use crate::policy::{self, RefusalCode};
use crate::relay::Relay;

const DNS_PORT: u16 = 53;

/// A flow, as far as the guest's frames go.
#[derive(Debug)]
pub(crate) struct FlowState {
    /// Whom the guest means.
    pub(crate) peer: Peer,
    pub(crate) port: u16,
    pub(crate) said: RefCell<Said>,
    pub(crate) changed: Notify,
    /// What the log will have, as of now.
    pub(crate) attempt: RefCell<Attempt>,
    pub(crate) began: Instant,
}

/// What the guest's frames have said.
#[derive(Debug, Default)]
pub(crate) struct Said {
    /// What was sent and not looked at yet.
    pub(crate) data: Vec<u8>,
    /// How many bytes the guest takes.
    pub(crate) credit: usize,
    /// How many it may send.
    pub(crate) granted: usize,
    pub(crate) ended: bool,
    pub(crate) reset: bool,
    /// The policy has changed, and this is not allowed any more.
    pub(crate) cut: bool,
}

impl FlowState {
    fn new(open: Open, peer: Peer) -> Self {
        let port = open.to.port();
        let (verdict, reason) = (Verdict::Failed, Some(UNDECIDED.into()));
        let attempt =
            Attempt { time: now(), port: Some(port), verdict, reason, count: 1, ..Attempt::default() };
        Self {
            peer,
            port,
            said: RefCell::new(Said { credit: open.credit as usize, ..Said::default() }),
            changed: Notify::new(),
            attempt: RefCell::new(attempt),
            began: Instant::now(),
        }
    }

    /// Takes a frame of the guest's.
    ///
    /// # Errors
    ///
    /// When the guest may not send it.
    pub(crate) fn frame(&self, header: Header, body: &[u8]) -> Result<(), FlowError> {
        let mut said = self.said.borrow_mut();
        match header.kind {
            Kind::Data if said.ended => return Err(FlowError::Flow(header.kind, header.flow)),
            Kind::Data => {
                let too_much = || FlowError::Body(header.kind, body.len());
                said.granted = said.granted.checked_sub(body.len()).ok_or_else(too_much)?;
                said.data.extend_from_slice(body);
            }
            Kind::Credit => {
                let credit = parse_credit(header.kind, body)? as usize;
                said.credit = said.credit.saturating_add(credit);
            }
            Kind::End => said.ended = true,
            Kind::Reset => said.reset = true,
            _ => return Err(FlowError::Flow(header.kind, header.flow)),
        }
        drop(said);
        self.changed.notify_one();
        Ok(())
    }

    /// Ends a flow that is not allowed any more.
    pub(crate) fn cut(&self) {
        self.said.borrow_mut().cut = true;
        self.changed.notify_one();
    }

    async fn until_over(&self) {
        loop {
            if self.said.borrow().reset || self.said.borrow().cut {
                return;
            }
            self.changed.notified().await;
        }
    }

    /// How it looks in the log, as of now.
    pub(crate) fn attempt(&self) -> Attempt {
        Attempt { duration_ms: self.began.elapsed().as_millis() as u64, ..self.attempt.borrow().clone() }
    }
}

/// Answers an [`Open`], and moves the flow's bytes until it is over. The flow is known when this returns.
pub(crate) fn begin(gateway: &Rc<Gateway>, id: u32, open: Open) {
    let refuse = || gateway.outbox.push(Kind::Refused, id, &[&[Refusal::Refused as u8]]);
    if gateway.flows.borrow().len() >= FLOWS_MAX {
        return refuse();
    }
    let state = Rc::new(FlowState::new(open, gateway.peer(*open.to.ip())));
    gateway.flows.borrow_mut().insert(id, state.clone());
    let gateway = gateway.clone();
    tokio::task::spawn_local(async move {
        if *open.to.ip() == addresses::GATEWAY && open.to.port() == DNS_PORT {
            dns_stream::serve(&gateway, id, &state).await;
        } else {
            run(&gateway, id, &state).await;
            gateway.log.borrow_mut().write(state.attempt());
        }
        gateway.flows.borrow_mut().remove(&id);
    });
}

async fn run(gateway: &Rc<Gateway>, id: u32, state: &FlowState) {
    let mut attempt = state.attempt.borrow().clone();
    (attempt.verdict, attempt.reason) = (Verdict::Allowed, None);
    let dialled = tokio::select! {
        dialled = gateway.dial(&state.peer, state.port, &mut attempt) => Some(dialled),
        () = state.until_over() => None,
    };
    let outcome = match dialled {
        Some(Ok(reached)) => {
            *state.attempt.borrow_mut() = attempt;
            Relay::new(gateway, id, state, reached).run().await
        }
        Some(Err(error)) => {
            error.describe(&mut attempt);
            *state.attempt.borrow_mut() = attempt;
            let refusal = if error.is_refusal() { Refusal::Refused } else { Refusal::Unreachable };
            return gateway.outbox.push(Kind::Refused, id, &[&[refusal as u8]]);
        }
        None => {
            attempt.verdict = Verdict::Failed;
            attempt.reason = Some("given-up".into());
            *state.attempt.borrow_mut() = attempt;
            Ok(())
        }
    };
    if state.said.borrow().cut {
        let sentence = "the policy was changed, and does not allow it any more";
        describe(state, &policy::Refusal::new(RefusalCode::Denied, sentence));
        gateway.outbox.push(Kind::Reset, id, &[]);
    } else if let Err(error) = outcome {
        match error {
            RelayError::Refused(refusal) => describe(state, &refusal),
            RelayError::Broken(error) => state.attempt.borrow_mut().detail = Some(error.to_string()),
        }
        gateway.outbox.push(Kind::Reset, id, &[]);
    }
}

fn describe(state: &FlowState, refusal: &policy::Refusal) {
    let mut attempt = state.attempt.borrow_mut();
    attempt.verdict = Verdict::Refused;
    attempt.reason = Some(refusal.code.as_str().into());
    attempt.detail = Some(refusal.to_string());
}

/// Why a connection that stood is over before its time.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RelayError {
    /// What was said in it is not allowed.
    #[error(transparent)]
    Refused(#[from] policy::Refusal),
    #[error(transparent)]
    Broken(#[from] std::io::Error),
}
