use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::routing::Routing;
use super::zone::answer;
use crate::latest::{Follower, Latest};

/// How long until an address that could not be had is tried again.
const RETRY: Duration = Duration::from_secs(10);

/// A query of ours is below 300 bytes; one with extensions may be longer.
const QUERY_MAX_LEN: usize = 4096;

/// Connections at once, and how long one may be silent.
const CONNECTIONS_MAX: usize = 32;
const SILENCE_LIMIT: Duration = Duration::from_secs(5);

/// Who has which address, at the moment.
type Addresses = Arc<dyn Fn(&str) -> Option<Ipv4Addr> + Send + Sync>;

/// How the server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnsStatus {
    /// Nobody wants it.
    Off,
    Listening(SocketAddr),
    /// It is tried again and again.
    Unavailable {
        address: SocketAddr,
        why: String,
    },
}

/// A name server, whether it could be started or not.
#[derive(Clone)]
pub struct DnsServer {
    status: Follower<DnsStatus>,
    routing: Arc<Routing>,
}

impl DnsServer {
    pub fn status(&self) -> DnsStatus {
        self.status.get()
    }

    /// Do programs on this host find VMs by name?
    pub async fn names_are_found(&self) -> bool {
        matches!(self.status(), DnsStatus::Listening(_)) && self.routing.is_there().await
    }
}

/// Answers for `.vm` on `address`, as soon as that can be had and for as long as the process lives.
/// `addresses` is asked for the address of a name in lower case; it must not wait.
pub fn serve(
    address: Option<SocketAddr>,
    addresses: impl Fn(&str) -> Option<Ipv4Addr> + Send + Sync + 'static,
) -> DnsServer {
    serve_and_retry(address, RETRY, Arc::new(addresses))
}

fn serve_and_retry(address: Option<SocketAddr>, retry: Duration, addresses: Addresses) -> DnsServer {
    let status = Latest::new(DnsStatus::Off);
    let server = DnsServer { status: status.follow(), routing: Arc::default() };
    let Some(address) = address else { return server };
    if !address.ip().is_loopback() {
        tracing::warn!(%address, "the name server for .vm can be asked by other machines, as it is configured");
    }
    let first = bind(address);
    tell(&status, describe(address, &first));
    tokio::spawn(async move {
        let mut bound = first;
        loop {
            match bound {
                Ok(sockets) => run(sockets, &addresses).await,
                Err(_) => tokio::time::sleep(retry).await,
            }
            bound = bind(address);
            tell(&status, describe(address, &bound));
        }
    });
    server
}

/// Logs what has changed, and nothing twice.
fn tell(status: &Latest<DnsStatus>, now: DnsStatus) {
    if status.follow().get() == now {
        return;
    }
    match &now {
        DnsStatus::Off => {}
        DnsStatus::Listening(address) => tracing::info!(%address, "answers for .vm"),
        DnsStatus::Unavailable { address, why } => {
            tracing::warn!(%address, why, "does not answer for .vm; it is tried again and again");
        }
    }
    status.set(now);
}

fn describe(address: SocketAddr, bound: &io::Result<Sockets>) -> DnsStatus {
    let error = match bound {
        Ok(sockets) => return DnsStatus::Listening(sockets.address),
        Err(error) => error,
    };
    let why = match error.kind() {
        io::ErrorKind::AddrInUse => "another program has that port".to_owned(),
        _ => error.to_string(),
    };
    DnsStatus::Unavailable { address, why }
}

struct Sockets {
    address: SocketAddr,
    udp: UdpSocket,
    tcp: TcpListener,
}

/// Both, or neither: resolvers ask over the one what did not fit into the other.
fn bind(address: SocketAddr) -> io::Result<Sockets> {
    let udp = std::net::UdpSocket::bind(address)?;
    udp.set_nonblocking(true)?;
    let address = udp.local_addr()?;
    let tcp = std::net::TcpListener::bind(address)?;
    tcp.set_nonblocking(true)?;
    Ok(Sockets { address, udp: UdpSocket::from_std(udp)?, tcp: TcpListener::from_std(tcp)? })
}

/// Never ends by itself: what goes wrong with one query is that one's.
async fn run(sockets: Sockets, addresses: &Addresses) {
    tokio::join!(datagrams(sockets.udp, addresses), connections(sockets.tcp, addresses));
}

async fn datagrams(socket: UdpSocket, addresses: &Addresses) {
    let mut packet = vec![0; QUERY_MAX_LEN];
    loop {
        match socket.recv_from(&mut packet).await {
            Ok((len, from)) => {
                if let Some(answer) = answer(&packet[..len], &**addresses) {
                    // Who cannot be answered asks again. Waiting would hold up all others.
                    let _sent = socket.try_send_to(&answer, from);
                }
            }
            // The kernel tells of an earlier answer that nobody wanted.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(error) => {
                tracing::warn!(%error, "could not receive a query");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        // A flood of queries must not keep the worker from its other tasks.
        tokio::task::consume_budget().await;
    }
}

async fn connections(listener: TcpListener, addresses: &Addresses) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        // It is never closed.
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((connection, _)) => {
                let addresses = addresses.clone();
                tokio::spawn(async move {
                    let _permit = permit;
                    // Who hangs up, or says nothing, has had his answers.
                    let _ended = converse(connection, &addresses).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection of a resolver");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// One query after the other, each with its length before it.
async fn converse(mut connection: TcpStream, addresses: &Addresses) -> io::Result<()> {
    loop {
        let query = timeout(SILENCE_LIMIT, read_query(&mut connection)).await??;
        let Some(answer) = answer(&query, &**addresses) else { return Ok(()) };
        // It is no longer than 512 bytes.
        let mut packet = (answer.len() as u16).to_be_bytes().to_vec();
        packet.extend_from_slice(&answer);
        timeout(SILENCE_LIMIT, connection.write_all(&packet)).await??;
    }
}

async fn read_query(connection: &mut TcpStream) -> io::Result<Vec<u8>> {
    let len = usize::from(connection.read_u16().await?);
    if len > QUERY_MAX_LEN {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut query = vec![0; len];
    connection.read_exact(&mut query).await?;
    Ok(query)
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
