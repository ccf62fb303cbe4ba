//! From "TCP to this address and port" to a connection, or the reason why there is none.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use banger_guest_protocol::flow::addresses;
use tokio::net::TcpStream;

use crate::gateway::Gateway;
use crate::log::{Attempt, Verdict};
use crate::policy::{Agreement, Destination, Name, Reach, Refusal, RefusalCode, Transport};
use crate::proxy::{Proxies, Proxy, ProxyError};
use crate::resolver::{Resolved, is_own};

/// How long one address may take when there are others, and how long the last one.
const TRY_LIMIT: Duration = Duration::from_secs(3);
const LAST_TRY_LIMIT: Duration = Duration::from_secs(30);

/// A server that was reached.
#[derive(Debug)]
pub(crate) struct Reached {
    pub(crate) stream: TcpStream,
    pub(crate) agreement: Agreement,
}

/// Why a server was not reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("the host's resolver knows no such name")]
    NoSuchName,
    #[error("the host's resolver could not be asked")]
    Resolver,
    #[error("too many names are being looked up already")]
    Busy,
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    #[error("could not connect: {0}")]
    Connect(io::Error),
}

impl DialError {
    /// As if nobody listened there: else there is no way there.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            Self::Refused(_) | Self::Proxy(_) => true,
            Self::Connect(error) => error.kind() == io::ErrorKind::ConnectionRefused,
            Self::NoSuchName | Self::Resolver | Self::Busy => false,
        }
    }

    pub(crate) fn describe(&self, attempt: &mut Attempt) {
        attempt.verdict = if matches!(self, Self::Refused(_)) { Verdict::Refused } else { Verdict::Failed };
        attempt.reason = match self {
            Self::Refused(refusal) => Some(refusal.code.as_str().to_owned()),
            Self::NoSuchName => Some("no-such-name".to_owned()),
            Self::Resolver => Some("resolver".to_owned()),
            Self::Busy => Some("busy".to_owned()),
            Self::Proxy(_) => Some("proxy".to_owned()),
            Self::Connect(_) => Some("connect".to_owned()),
        };
        let source = std::error::Error::source(self).map(|source| format!(": {source}"));
        attempt.detail = Some(format!("{self}{}", source.unwrap_or_default()));
    }
}

/// Whom an address of the guest's means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Peer {
    Name(Name),
    Address(Ipv4Addr),
}

impl Gateway {
    pub(crate) fn peer(&self, address: Ipv4Addr) -> Peer {
        if address == addresses::HOST {
            return Peer::Name(self.host_name.clone());
        }
        match self.names.borrow().name_of(address) {
            Some(name) => Peer::Name(name.clone()),
            None => Peer::Address(address),
        }
    }

    /// Connects to where the guest wants to, if it may. What is found out on the way stands in `attempt`
    /// afterwards.
    ///
    /// # Errors
    ///
    /// When it may not, or cannot.
    pub(crate) async fn dial(
        &self,
        peer: &Peer,
        port: u16,
        attempt: &mut Attempt,
    ) -> Result<Reached, DialError> {
        match *peer {
            Peer::Name(ref name) => {
                attempt.name = Some(name.to_string());
                self.dial_name(name, port, attempt).await
            }
            Peer::Address(address) => {
                attempt.address = Some(address.into());
                let allowed = self.policy().by_address(address, port, Transport::Tcp)?;
                attempt.rule = Some(allowed.rule);
                refuse_own(address.into())?;
                let stream = connect(&[SocketAddr::new(address.into(), port)], attempt).await?;
                Ok(Reached { stream, agreement: allowed.agreement })
            }
        }
    }

    async fn dial_name(&self, name: &Name, port: u16, attempt: &mut Attempt) -> Result<Reached, DialError> {
        let allowed = self.policy().by_name(name, port, Transport::Tcp)?;
        attempt.rule = Some(allowed.rule);
        let stream = match allowed.destination {
            Destination::HostLoopback { port } => {
                let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
                connect(&loopback.map(|address| SocketAddr::new(address, port)), attempt).await?
            }
            Destination::Addresses(reach) => match self.proxy_for(name, port)? {
                Some(proxy) => self.through(&proxy, name, port, &reach, attempt).await?,
                None => {
                    let found = self.addresses(name, &reach).await?;
                    let found: Vec<_> =
                        found.into_iter().map(|address| SocketAddr::new(address, port)).collect();
                    connect(&found, attempt).await?
                }
            },
        };
        Ok(Reached { stream, agreement: allowed.agreement })
    }

    fn proxy_for(&self, name: &Name, port: u16) -> Result<Option<Proxy>, ProxyError> {
        let proxies: std::rc::Rc<Proxies> = self.proxies.borrow().clone();
        proxies.of(name, port)
    }

    /// Where the host can resolve the name itself, what it finds counts: a proxy would reach what the VM must
    /// not. A name that is the proxy's alone is the proxy's affair.
    async fn through(
        &self,
        proxy: &Proxy,
        name: &Name,
        port: u16,
        reach: &Reach,
        attempt: &mut Attempt,
    ) -> Result<TcpStream, DialError> {
        match self.addresses(name, reach).await {
            Ok(_) | Err(DialError::NoSuchName | DialError::Resolver) => {}
            Err(error) => return Err(error),
        }
        attempt.detail = Some(format!("through the proxy {}", proxy.address()));
        let connected = tokio::time::timeout(LAST_TRY_LIMIT, proxy.connect(name, port)).await;
        let stream = connected.map_err(|late| DialError::Connect(late.into()))??;
        prepare(&stream).map_err(DialError::Connect)?;
        Ok(stream)
    }

    /// The addresses of a name that it may be reached at.
    ///
    /// # Errors
    ///
    /// When there are none: the refusal of the first one, if there was one.
    pub(crate) async fn addresses(&self, name: &Name, reach: &Reach) -> Result<Vec<IpAddr>, DialError> {
        let found = match self.resolver.resolve(name).await {
            Resolved::Addresses(found) => found,
            Resolved::Nothing => return Err(DialError::NoSuchName),
            Resolved::Failed => return Err(DialError::Resolver),
            Resolved::Busy => return Err(DialError::Busy),
        };
        let mut permitted = Vec::new();
        let mut first_refusal = None;
        for address in found {
            match reach.permits(address).map_err(DialError::from).and_then(|()| refuse_own(address)) {
                Ok(()) => permitted.push(address),
                Err(error) => {
                    first_refusal.get_or_insert(error);
                }
            }
        }
        match first_refusal {
            Some(error) if permitted.is_empty() => Err(error),
            _ => Ok(permitted),
        }
    }
}

/// The host's own addresses are reached as `host.vm` alone, and only where the policy says so.
pub(crate) fn refuse_own(address: IpAddr) -> Result<(), DialError> {
    match is_own(address) {
        Ok(false) => Ok(()),
        Ok(true) => Err(DialError::Refused(Refusal::new(
            RefusalCode::HostAddress,
            format!("{address} is the host itself; name a service of it as `host:PORT`"),
        ))),
        Err(error) => Err(DialError::Connect(error)),
    }
}

/// Connects to the first of the addresses that answers.
async fn connect(to: &[SocketAddr], attempt: &mut Attempt) -> Result<TcpStream, DialError> {
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for (at, address) in to.iter().enumerate() {
        let limit = if at + 1 < to.len() { TRY_LIMIT } else { LAST_TRY_LIMIT };
        attempt.address = Some(address.ip());
        match tokio::time::timeout(limit, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                prepare(&stream).map_err(DialError::Connect)?;
                return Ok(stream);
            }
            Ok(Err(error)) => failure = error,
            Err(late) => failure = late.into(),
        }
    }
    Err(DialError::Connect(failure))
}

/// What the guest sends has been put together by its own kernel: nothing is gained by waiting for more. A
/// server that is gone is noticed.
pub(crate) fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    rustix::net::sockopt::set_socket_keepalive(stream, true)?;
    Ok(())
}
