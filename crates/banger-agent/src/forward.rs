//! Connections from the host to TCP ports of the guest: one upgraded stream each.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use banger_guest_protocol::forward::carry;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::ports;

/// A server whose queue is full does not answer; everybody else does at once, for it is this machine.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// Why a port could not be connected to.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    #[error("nothing listens on port {port}")]
    Refused { port: u16, source: io::Error },
    #[error("port {port} did not take a connection within {} s", CONNECT_LIMIT.as_secs())]
    Silent { port: u16 },
}

/// Connects to whoever listens on a port: on loopback, of either family, else at the address that it listens
/// on.
///
/// # Errors
///
/// When nobody takes the connection.
pub async fn connect(port: u16) -> Result<TcpStream, ForwardError> {
    let dial = async {
        let loopback = [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()];
        let mut failure = None;
        for address in loopback {
            match TcpStream::connect((address, port)).await {
                Ok(stream) => return Ok(stream),
                // The first one is the one that people know.
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        for address in ports::own_addresses(port) {
            match TcpStream::connect((address, port)).await {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        let source = failure.unwrap_or_else(|| io::ErrorKind::ConnectionRefused.into());
        Err(ForwardError::Refused { port, source })
    };
    let dialled = tokio::time::timeout(CONNECT_LIMIT, dial).await;
    dialled.unwrap_or(Err(ForwardError::Silent { port }))
}

/// Carries the connection over the host's stream.
pub async fn serve<S: AsyncRead + AsyncWrite>(connection: TcpStream, stream: S) {
    // A connection that was cut off is a matter between its two ends, which have both seen it.
    let _carried = carry(&connection, stream).await;
}
