//! What the agent process knows about itself.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use banger_guest_protocol::PROTOCOL_VERSION;
use banger_guest_protocol::messages::{Health, Hello, Phase};
use rustix::time::{ClockId, clock_gettime};

use crate::AGENT_BUILD;
use crate::configure::{FormerIdentity, ImageInit};
use crate::exec::ExecSessions;
use crate::init::supervisor::Supervisor;

/// The state that every request sees.
#[derive(Debug)]
pub struct Agent {
    phase: Mutex<Phase>,
    supervisor: Arc<Supervisor>,
    /// PID 1 is the image's init, no longer our supervisor.
    image_init: Mutex<Option<ImageInit>>,
    execs: ExecSessions,
    former_identity: FormerIdentity,
}

impl Agent {
    pub fn new(supervisor: Supervisor) -> Self {
        Self {
            phase: Mutex::new(Phase::AwaitingConfigure),
            supervisor: Arc::new(supervisor),
            image_init: Mutex::new(None),
            execs: ExecSessions::default(),
            former_identity: FormerIdentity::default(),
        }
    }

    pub fn phase(&self) -> Phase {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves from one phase to another; false when the phase is another one.
    pub fn advance(&self, from: Phase, to: Phase) -> bool {
        let mut phase = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        let matches = *phase == from;
        if matches {
            *phase = to;
        }
        matches
    }

    /// Enters the last phase; false when it was entered before.
    pub fn begin_shutdown(&self) -> bool {
        let mut phase = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *phase, Phase::ShuttingDown) != Phase::ShuttingDown
    }

    pub fn supervisor(&self) -> Arc<Supervisor> {
        Arc::clone(&self.supervisor)
    }

    /// The image's init that PID 1 has become.
    pub fn image_init(&self) -> Option<ImageInit> {
        self.image_init.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn set_image_init(&self, init: Option<ImageInit>) {
        *self.image_init.lock().unwrap_or_else(PoisonError::into_inner) = init;
    }

    pub fn execs(&self) -> &ExecSessions {
        &self.execs
    }

    pub fn former_identity(&self) -> &FormerIdentity {
        &self.former_identity
    }

    pub fn hello(&self) -> Hello {
        Hello {
            protocol: PROTOCOL_VERSION,
            agent_build: AGENT_BUILD.to_owned(),
            kernel_release: kernel_release(),
            uptime_ms: uptime_ms(),
        }
    }

    pub fn health(&self) -> Health {
        Health {
            protocol: PROTOCOL_VERSION,
            agent_build: AGENT_BUILD.to_owned(),
            phase: self.phase(),
            kernel_release: kernel_release(),
            uptime_ms: uptime_ms(),
            exec_sessions: self.execs.count(),
            init: self.image_init().map(|init| init.program),
        }
    }
}

fn kernel_release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// Time since the kernel started, in milliseconds.
fn uptime_ms() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    Duration::try_from(now).map(|uptime| uptime.as_millis() as u64).unwrap_or_default()
}
