//! `ping`: echo requests of the guest's, sent on where the host lets ordinary users ping.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use banger_guest_protocol::flow::{Echo, Kind, addresses};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, ipproto, socket_with};
use tokio::io::unix::AsyncFd;

use crate::dial::{DialError, Peer, refuse_own};
use crate::gateway::Gateway;
use crate::log::{Attempt, Protocol, Verdict, now};
use crate::policy::{AddressKind, Refusal, RefusalCode, Transport};
use crate::resolver::Resolved;

/// How many may be on their way at once.
pub(crate) const ECHOES_MAX: usize = 32;

/// After so long an answer is not waited for any more.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

const HEADER_LEN: usize = 8;
const ECHO_REQUEST: u8 = 8;

/// Takes an echo request of the guest's; one for the gateway is answered here. One too many is lost, as
/// packets are.
pub(crate) fn take(gateway: &Rc<Gateway>, echo: Echo<'_>) {
    let Ok(permit) = gateway.echoes.clone().try_acquire_owned() else { return };
    if echo.peer == addresses::GATEWAY {
        gateway.outbox.offer(Kind::Echo, &[&echo.head(), echo.data]);
        return;
    }
    let Echo { guest, peer, ident, sequence, data } = echo;
    let (gateway, data) = (gateway.clone(), data.to_vec());
    tokio::task::spawn_local(async move {
        let echo = Echo { guest, peer, ident, sequence, data: &data };
        answer(&gateway, echo).await;
        drop(permit);
    });
}

async fn answer(gateway: &Gateway, echo: Echo<'_>) {
    let began = Instant::now();
    let mut attempt = Attempt { time: now(), protocol: Protocol::Icmp, count: 1, ..Attempt::default() };
    let head = echo.head();
    match permitted(gateway, echo.peer, &mut attempt).await {
        Ok(address) => match send(address, echo).await {
            Ok(answered) => {
                attempt.sent = echo.data.len() as u64;
                if answered {
                    attempt.received = attempt.sent;
                    gateway.outbox.offer(Kind::Echo, &[&head, echo.data]);
                }
            }
            Err(error) => {
                attempt.verdict = Verdict::Failed;
                attempt.reason = Some("ping".into());
                attempt.detail = Some(match error.kind() {
                    io::ErrorKind::PermissionDenied => {
                        "this host lets ordinary users send no echo requests (net.ipv4.ping_group_range)"
                            .into()
                    }
                    _ => error.to_string(),
                });
                gateway.outbox.offer(Kind::EchoRefused, &[&head]);
            }
        },
        Err(error) => {
            error.describe(&mut attempt);
            gateway.outbox.offer(Kind::EchoRefused, &[&head]);
        }
    }
    attempt.duration_ms = began.elapsed().as_millis() as u64;
    gateway.log.borrow_mut().write(attempt);
}

/// Whom to ask: a public address, of a name that may be looked up or of one that UDP may go to.
async fn permitted(gateway: &Gateway, peer: Ipv4Addr, attempt: &mut Attempt) -> Result<Ipv4Addr, DialError> {
    match gateway.peer(peer) {
        Peer::Name(name) => {
            attempt.name = Some(name.to_string());
            attempt.rule = Some(gateway.policy().lookup(&name)?);
            let Resolved::Addresses(found) = gateway.resolver.resolve(&name).await else {
                return Err(DialError::NoSuchName);
            };
            let public = found.into_iter().find_map(|address| match address {
                IpAddr::V4(v4) if AddressKind::of(address) == AddressKind::Public => Some(v4),
                _ => None,
            });
            let address = public.ok_or_else(|| {
                let sentence = format!("{name} has no public IPv4 address that could be pinged");
                Refusal::new(RefusalCode::PrivateAddress, sentence)
            })?;
            attempt.address = Some(address.into());
            // An address that is denied is not asked by a name either.
            if let Err(refusal) = gateway.policy().by_address(address, 0, Transport::Tcp)
                && refusal.code == RefusalCode::Denied
            {
                return Err(refusal.into());
            }
            refuse_own(address.into())?;
            Ok(address)
        }
        Peer::Address(address) => {
            attempt.address = Some(address.into());
            attempt.rule = Some(gateway.policy().by_address(address, 0, Transport::Udp)?.rule);
            refuse_own(address.into())?;
            Ok(address)
        }
    }
}

/// Asks, and says whether there was an answer.
async fn send(to: Ipv4Addr, echo: Echo<'_>) -> io::Result<bool> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, flags, Some(ipproto::ICMP))?;
    rustix::net::connect(&socket, &SocketAddrV4::new(to, 0))?;
    // The kernel fills in checksum and identifier.
    let [high, low] = echo.sequence.to_be_bytes();
    let packet = [&[ECHO_REQUEST, 0, 0, 0, 0, 0, high, low], echo.data].concat();
    rustix::net::send(&socket, &packet, SendFlags::empty())?;
    let socket = register(socket)?;
    let answer = async {
        let mut buffer = vec![0; HEADER_LEN + echo.data.len()];
        loop {
            let mut ready = socket.readable().await?;
            let received = ready.try_io(|socket| {
                Ok(rustix::net::recv(socket.get_ref(), &mut buffer[..], RecvFlags::empty())?.0)
            });
            // Not ready after all: again.
            let Ok(received) = received else { continue };
            if received? == packet.len() {
                return Ok(buffer[HEADER_LEN..] == *echo.data);
            }
        }
    };
    tokio::time::timeout(ANSWER_LIMIT, answer).await.unwrap_or(Ok(false))
}

fn register(socket: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    #[allow(unsafe_code, reason = "tokio cannot see that an OwnedFd keeps its descriptor")]
    // SAFETY: the OwnedFd stays open, and the same, for as long as the AsyncFd that owns it.
    let registered = unsafe { AsyncFd::register(socket) };
    Ok(registered?)
}
