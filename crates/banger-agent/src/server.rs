//! The agent process: one session after the other, as the host comes and goes.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use banger_guest_protocol::PORT_NAME;
use rustix::fs::{Mode, OFlags};

use crate::agent::Agent;
use crate::host_port::HostPort;
use crate::init::supervisor::Supervisor;
use crate::session::SessionEnd;
use crate::system_error::{Context, SystemError};
use crate::{console, port, session, spawn};

/// How long to wait before looking again for a host that hung up: its absence is no event one could wait for.
const HOST_ABSENT_PAUSE: Duration = Duration::from_millis(50);

/// Why the agent had to give up.
#[derive(Debug, thiserror::Error)]
enum ServerError {
    #[error(transparent)]
    System(#[from] SystemError),
    #[error("there is no way to the host")]
    Port(#[from] port::PortError),
}

/// Runs the agent process. Its stdin is the socket to PID 1. Never returns; PID 1 powers off when it ends.
pub fn run() -> ! {
    let Err(error) = serve();
    console::say(format_args!("the agent failed: {}", console::one_line(&error)));
    std::process::exit(1)
}

fn serve() -> Result<std::convert::Infallible, ServerError> {
    let supervisor = take_supervisor()?;
    spawn::prepare_agent();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start", "the agent's runtime")?;
    runtime.block_on(async {
        let agent = Arc::new(Agent::new(supervisor));
        let port = HostPort::new(port::open(PORT_NAME)?);
        let mut port = port.context("wait on", "the port to the host")?;
        loop {
            match session::serve_port(&mut port, &agent).await {
                Ok(SessionEnd::HungUp) => continue,
                Ok(SessionEnd::HostAbsent) => {}
                Err(error) => console::say(format_args!("session ended: {}", console::one_line(&error))),
            }
            tokio::time::sleep(HOST_ABSENT_PAUSE).await;
        }
    })
}

/// Moves the socket off stdin, which commands and panics must not get at.
fn take_supervisor() -> Result<Supervisor, SystemError> {
    let take = || -> io::Result<Supervisor> {
        let socket = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
        let null = rustix::fs::open("/dev/null", OFlags::RDWR, Mode::empty())?;
        rustix::stdio::dup2_stdin(&null)?;
        Ok(Supervisor::new(socket))
    };
    take().context("use", "the socket to PID 1")
}
