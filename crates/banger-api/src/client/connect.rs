//! Finding the daemon of a state directory, also one that has just lost its socket.

use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::time::{Instant, sleep};

use super::{Client, ClientError};
use crate::record::{DaemonRecord, is_held};
use crate::socket::Address;

/// How long a daemon that runs may be without a socket: it looks every half a second whether it has one.
const REBIND_LIMIT: Duration = Duration::from_secs(5);

/// How long a daemon may start: it looks at every VM before it listens.
pub(super) const START_LIMIT: Duration = Duration::from_secs(20);

const POLL: Duration = Duration::from_millis(10);

/// How one look for the daemon went.
enum Look {
    Found(UnixStream),
    Nobody,
    /// It holds the state directory, and cannot be talked to now.
    NotYet {
        pid: Option<u32>,
        starting: bool,
    },
}

impl Client {
    /// Connects to the daemon that holds the state directory, where that one listens now.
    pub(super) async fn connect(&self) -> Result<UnixStream, ClientError> {
        let begun = Instant::now();
        loop {
            let (pid, limit) = match self.look().await? {
                Look::Found(stream) => return Ok(stream),
                Look::Nobody => return Err(ClientError::NotRunning),
                Look::NotYet { pid, starting: true } => (pid, START_LIMIT),
                Look::NotYet { pid, .. } => (pid, REBIND_LIMIT),
            };
            if begun.elapsed() > limit {
                return Err(ClientError::Silent { pid });
            }
            sleep(POLL).await;
        }
    }

    async fn look(&self) -> Result<Look, ClientError> {
        let record = DaemonRecord::read(&self.state);
        let pid = record.as_ref().map(|record| record.pid);
        let absent = |starting| match is_held(&self.state) {
            true => Look::NotYet { pid, starting },
            false => Look::Nobody,
        };
        let Some(socket) = record.and_then(|record| record.socket()) else { return Ok(absent(true)) };
        // What a daemon has left that is gone: another state directory's may listen there now.
        if !is_held(&self.state) {
            return Ok(Look::Nobody);
        }
        match reach(&socket).await {
            Ok(stream) => own(stream, &socket).map(Look::Found),
            Err(error) => match error.kind() {
                // Its directory is gone, or no place for it any more.
                ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::PermissionDenied => {
                    Ok(absent(false))
                }
                // Reset: it died between our call and its answer.
                ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset => Ok(absent(false)),
                // Its queue is full.
                ErrorKind::WouldBlock => Ok(Look::NotYet { pid, starting: false }),
                _ => Err(ClientError::Connect { socket, source: error }),
            },
        }
    }
}

async fn reach(socket: &Path) -> std::io::Result<UnixStream> {
    let address = Address::of(socket)?;
    UnixStream::connect(address.path()).await
}

/// The directory keeps others out already; this holds even where somebody changed its mode.
fn own(stream: UnixStream, socket: &Path) -> Result<UnixStream, ClientError> {
    let socket = || socket.to_owned();
    let peer = stream.peer_cred().map_err(|source| ClientError::Connect { socket: socket(), source })?;
    match peer.uid() {
        uid if uid == rustix::process::geteuid().as_raw() => Ok(stream),
        uid => Err(ClientError::Foreign { socket: socket(), uid }),
    }
}
