//! What leads to the host: a virtio-serial port or vsock, whichever the machine has.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use banger_guest_protocol::{PORT_NAME, VSOCK_PORT};

use crate::agent::Agent;
use crate::host_port::HostPort;
use crate::init::{MODULES_DIR, modules};
use crate::session::{self, SessionEnd};
use crate::system_error::{Context, SystemError};
use crate::vsock::{VsockDevice, VsockListener};
use crate::{console, port};

/// How long a device may take to appear after its driver was loaded.
const APPEARANCE_TIMEOUT: Duration = Duration::from_secs(30);
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// How long to wait before looking again for a host that hung up: its absence is no event one could wait for.
const HOST_ABSENT_PAUSE: Duration = Duration::from_millis(50);

/// How long to wait after a failed accept: no descriptors left, for one.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why there is no way to the host.
#[derive(Debug, thiserror::Error)]
pub enum HostChannelError {
    #[error(
        "no virtio-serial port named {PORT_NAME} appeared within {} s, and {}",
        APPEARANCE_TIMEOUT.as_secs(),
        if *lacks_driver { "the kernel has no driver for the vsock device" } else { "there is no vsock device" }
    )]
    Missing { lacks_driver: bool },
    #[error("the kernel's vsock driver did not load")]
    Driver(#[from] modules::ModuleError),
    #[error(transparent)]
    System(#[from] SystemError),
}

/// The way to the host, once opened.
#[derive(Debug)]
pub(crate) enum HostChannel {
    Serial(HostPort),
    Vsock(VsockListener),
}

impl HostChannel {
    /// Waits for either device and opens it. Needs the current runtime.
    ///
    /// # Errors
    ///
    /// When neither appears in time, or it cannot be opened.
    pub(crate) fn open() -> Result<Self, HostChannelError> {
        let end = Instant::now() + APPEARANCE_TIMEOUT;
        let mut vsock = None;
        loop {
            if vsock.is_none() {
                vsock = VsockDevice::find();
                if let Some(device) = &vsock
                    && let Some(listener) = listen(device)?
                {
                    return Ok(Self::Vsock(listener));
                }
            }
            if let Some(port) = port::open(PORT_NAME)? {
                let port = HostPort::new(port).context("wait on", "the port to the host")?;
                return Ok(Self::Serial(port));
            }
            if Instant::now() > end {
                return Err(HostChannelError::Missing { lacks_driver: vsock.is_some() });
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Answers the host for ever, as it comes and goes.
    pub(crate) async fn serve(self, agent: &Arc<Agent>) -> Infallible {
        match self {
            Self::Serial(port) => serve_sessions(port, agent).await,
            Self::Vsock(listener) => serve_connections(&listener, agent).await,
        }
    }
}

/// Loads the driver of a vsock device; none when this kernel has none for it.
fn listen(device: &VsockDevice) -> Result<Option<VsockListener>, HostChannelError> {
    for warning in modules::load_list(Path::new(MODULES_DIR), "vsock")? {
        console::say(warning);
    }
    if !device.has_driver() {
        return Ok(None);
    }
    let listener =
        VsockListener::bind(VSOCK_PORT).context("listen on", format_args!("vsock port {VSOCK_PORT}"))?;
    Ok(Some(listener))
}

/// One session after the other.
async fn serve_sessions(mut port: HostPort, agent: &Arc<Agent>) -> Infallible {
    loop {
        match session::serve_port(&mut port, agent).await {
            Ok(SessionEnd::HungUp) => continue,
            Ok(SessionEnd::HostAbsent) => {}
            Err(error) => console::say(format_args!("session ended: {}", console::one_line(&error))),
        }
        tokio::time::sleep(HOST_ABSENT_PAUSE).await;
    }
}

/// Each connection beside the others.
async fn serve_connections(listener: &VsockListener, agent: &Arc<Agent>) -> Infallible {
    loop {
        match listener.accept().await {
            Ok(stream) => drop(tokio::spawn(session::serve_stream(stream, Arc::clone(agent)))),
            Err(error) => {
                console::say(format_args!("could not accept a connection of the host's: {error}"));
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}
