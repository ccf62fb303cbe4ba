//! Streams over a VMM's hybrid vsock: a Unix socket on which `CONNECT <port>` is asked for a connection to
//! the guest.

use std::time::Duration;

use banger_guest_protocol::messages::Health;
use banger_guest_protocol::preamble::Hello;
use banger_host::unix_socket::connect_in;
use bytes::Bytes;
use http::{Request, header};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::GuestError;
use super::client::read_json;
use crate::paths::VmDir;

/// How soon a guest that does not listen yet is tried again. An attempt takes some milliseconds itself.
const RETRY_INTERVAL: Duration = Duration::from_millis(10);

/// `OK ` and the number of the host's port.
const ANSWER_MAX_LEN: usize = 32;

/// Where an agent listens.
#[derive(Clone, Debug)]
pub(super) struct VsockPort {
    pub(super) dir: VmDir,
    pub(super) socket: &'static str,
    pub(super) port: u32,
}

impl VsockPort {
    /// A connection to the guest.
    ///
    /// # Errors
    ///
    /// [`GuestError::Closed`] when nobody listens there. A VMM whose guest has no driver yet says nothing at
    /// all.
    pub(super) async fn open_stream(&self) -> Result<UnixStream, GuestError> {
        let mut stream = connect_in(self.dir.path(), self.socket).await.map_err(GuestError::Connect)?;
        let request = format!("CONNECT {}\n", self.port);
        stream.write_all(request.as_bytes()).await.map_err(|_| GuestError::Closed)?;
        // Byte by byte: what follows the line is the guest's.
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            line.push(stream.read_u8().await.map_err(|_| GuestError::Closed)?);
            if line.len() > ANSWER_MAX_LEN {
                return Err(GuestError::Unintelligible);
            }
        }
        if line.starts_with(b"OK ") { Ok(stream) } else { Err(GuestError::Unintelligible) }
    }
}

/// Waits until the agent answers: its health is its hello.
///
/// # Errors
///
/// When there is no VMM any more, or what answers is no agent.
pub(super) async fn hello(port: &VsockPort) -> Result<Hello, GuestError> {
    let stream = loop {
        match port.open_stream().await {
            // The end of a stream is also what a guest looks like that does not listen yet.
            Err(GuestError::Closed) => tokio::time::sleep(RETRY_INTERVAL).await,
            opened => break opened?,
        }
    };
    let request = "health";
    let failed = |source| GuestError::Http { request, source };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(failed)?;
    tokio::spawn(connection);
    let message = Request::get("/v1/health").header(header::HOST, "guest").body(Empty::<Bytes>::new());
    let message = message.map_err(|source| GuestError::Message { request, source })?;
    let response = sender.send_request(message).await.map_err(failed)?;
    let Health { protocol, agent_build, kernel_release, uptime_ms, .. } =
        read_json(request, response).await?;
    Ok(Hello { protocol, agent_build, kernel_release, uptime_ms })
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    const SOCKET: &str = "vsock.sock";

    /// What comes of a connection to a VMM that answers this.
    async fn answered(answer: &[u8]) -> Result<UnixStream, GuestError> {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join(SOCKET)).unwrap();
        let port = VsockPort { dir: VmDir::at(dir.path()), socket: SOCKET, port: 7 };
        let vmm = async {
            let mut stream = listener.accept().await.unwrap().0;
            let mut asked = [0; 10];
            stream.read_exact(&mut asked).await.unwrap();
            assert_eq!(&asked, b"CONNECT 7\n");
            stream.write_all(answer).await.unwrap();
        };
        tokio::join!(port.open_stream(), vmm).0
    }

    #[tokio::test]
    async fn what_follows_the_answer_is_the_guests() {
        let mut stream = answered(b"OK 1073741832\nhello").await.unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).await.unwrap();
        assert_eq!(said, "hello");
    }

    #[tokio::test]
    async fn what_is_no_answer_is_no_stream() {
        assert!(matches!(answered(b"").await, Err(GuestError::Closed)));
        assert!(matches!(answered(b"OK 1").await, Err(GuestError::Closed)));
        for says in [&b"NO\n"[..], b"\n", &[b'9'; ANSWER_MAX_LEN + 1]] {
            assert!(matches!(answered(says).await, Err(GuestError::Unintelligible)), "{says:?}");
        }
        let nowhere = tempfile::tempdir().unwrap();
        let port = VsockPort { dir: VmDir::at(nowhere.path()), socket: SOCKET, port: 7 };
        assert!(matches!(port.open_stream().await, Err(GuestError::Connect(_))));
    }
}
