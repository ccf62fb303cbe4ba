//! The agent process: finds the way to the host, and serves it.

use std::io;
use std::sync::Arc;

use rustix::fs::{Mode, OFlags};

use crate::agent::Agent;
use crate::host_channel::{HostChannel, HostChannelError};
use crate::init::supervisor::Supervisor;
use crate::system_error::{Context, SystemError};
use crate::{console, spawn};

/// Why the agent had to give up.
#[derive(Debug, thiserror::Error)]
enum ServerError {
    #[error(transparent)]
    System(#[from] SystemError),
    #[error("there is no way to the host")]
    Channel(#[from] HostChannelError),
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
        Ok(HostChannel::open()?.serve(&agent).await)
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
