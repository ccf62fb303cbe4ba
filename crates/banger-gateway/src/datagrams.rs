//! UDP: a socket for each pair of addresses that the guest uses, for as long as it is used.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};
use std::rc::Rc;
use std::time::{Duration, Instant};

use banger_guest_protocol::flow::{Datagram, Kind, addresses};
use tokio::net::UdpSocket;

use crate::dial::{DialError, Peer, refuse_own};
use crate::dns;
use crate::gateway::Gateway;
use crate::log::{Attempt, Protocol, UNDECIDED, Verdict, now};
use crate::policy::{Destination, Transport};

/// How many there may be; beyond them the one that was used least recently goes.
const SOCKETS_MAX: usize = 256;

/// How long one may be unused.
const IDLE_LIMIT: Duration = Duration::from_secs(60);

/// How many bytes may wait while a name is looked up.
const WAITING_MAX: usize = 8 * 1024;

const DNS_PORT: u16 = 53;

type Pair = (SocketAddrV4, SocketAddrV4);

/// The sockets in use.
#[derive(Debug, Default)]
pub(crate) struct Datagrams {
    pairs: RefCell<HashMap<Pair, Rc<Conversation>>>,
    /// Those that are over and not gone yet are counted as well.
    living: Cell<usize>,
}

/// How many there may be together with those that are just going.
const LIVING_MAX: usize = 2 * SOCKETS_MAX;

#[derive(Debug)]
struct Conversation {
    socket: RefCell<Option<Rc<UdpSocket>>>,
    /// What came while there was none.
    waiting: RefCell<Vec<Vec<u8>>>,
    used: Cell<Instant>,
    /// What the log will have, as of now.
    attempt: RefCell<Attempt>,
    began: Instant,
    over: tokio::sync::Notify,
}

impl Conversation {
    fn new(port: u16) -> Self {
        Self {
            socket: RefCell::default(),
            waiting: RefCell::default(),
            used: Cell::new(Instant::now()),
            attempt: RefCell::new(Attempt {
                time: now(),
                protocol: Protocol::Udp,
                verdict: Verdict::Failed,
                reason: Some(UNDECIDED.into()),
                port: Some(port),
                count: 1,
                ..Attempt::default()
            }),
            began: Instant::now(),
            over: tokio::sync::Notify::new(),
        }
    }

    fn attempt(&self) -> Attempt {
        Attempt { duration_ms: self.began.elapsed().as_millis() as u64, ..self.attempt.borrow().clone() }
    }

    /// Sends a datagram; one that does not go at once is lost, as datagrams are.
    fn send(&self, data: &[u8]) {
        self.used.set(Instant::now());
        match &*self.socket.borrow() {
            Some(socket) => {
                if socket.try_send(data).is_ok() {
                    self.attempt.borrow_mut().sent += data.len() as u64;
                }
            }
            None => {
                let mut waiting = self.waiting.borrow_mut();
                if waiting.iter().map(Vec::len).sum::<usize>() + data.len() <= WAITING_MAX {
                    waiting.push(data.to_vec());
                }
            }
        }
    }
}

/// Takes a datagram of the guest's.
pub(crate) fn take(gateway: &Rc<Gateway>, datagram: Datagram<'_>) {
    let Datagram { guest, peer, data } = datagram;
    if *peer.ip() == addresses::GATEWAY && peer.port() == DNS_PORT {
        return dns::take(gateway, guest, data);
    }
    let pair = (guest, peer);
    let known = gateway.datagrams.pairs.borrow().get(&pair).cloned();
    if let Some(conversation) = known {
        return conversation.send(data);
    }
    if gateway.datagrams.living.get() >= LIVING_MAX {
        return;
    }
    make_room(&gateway.datagrams);
    let conversation = Rc::new(Conversation::new(peer.port()));
    gateway.datagrams.living.set(gateway.datagrams.living.get() + 1);
    conversation.send(data);
    gateway.datagrams.pairs.borrow_mut().insert(pair, conversation.clone());
    let gateway = gateway.clone();
    tokio::task::spawn_local(async move {
        converse(&gateway, pair, &conversation).await;
        gateway.datagrams.living.set(gateway.datagrams.living.get() - 1);
        let mut pairs = gateway.datagrams.pairs.borrow_mut();
        if pairs.get(&pair).is_some_and(|current| Rc::ptr_eq(current, &conversation)) {
            pairs.remove(&pair);
        }
    });
}

fn make_room(datagrams: &Datagrams) {
    let mut pairs = datagrams.pairs.borrow_mut();
    if pairs.len() >= SOCKETS_MAX
        && let Some(oldest) = pairs.iter().min_by_key(|(_, one)| one.used.get()).map(|(pair, _)| *pair)
        && let Some(conversation) = pairs.remove(&oldest)
    {
        conversation.over.notify_one();
    }
}

/// Cuts the conversations that are not allowed any more; says how many.
pub(crate) fn cut_refused(gateway: &Gateway) -> usize {
    let mut pairs = gateway.datagrams.pairs.borrow_mut();
    let before = pairs.len();
    pairs.retain(|(_, to), conversation| {
        let dialled = conversation.attempt.borrow().address;
        let stays = gateway.allows(&gateway.peer(*to.ip()), to.port(), Transport::Udp, dialled);
        if !stays {
            conversation.over.notify_one();
        }
        stays
    });
    before - pairs.len()
}

/// Those that last, as the log will have them.
pub(crate) fn attempts(gateway: &Gateway) -> Vec<Attempt> {
    gateway.datagrams.pairs.borrow().values().map(|conversation| conversation.attempt()).collect()
}

async fn converse(gateway: &Gateway, (guest, peer): Pair, conversation: &Conversation) {
    let mut attempt = conversation.attempt.borrow().clone();
    (attempt.verdict, attempt.reason) = (Verdict::Allowed, None);
    let opened = tokio::select! {
        biased;
        () = conversation.over.notified() => None,
        opened = open(gateway, peer, &mut attempt) => Some(opened),
    };
    match opened {
        Some(Ok(socket)) => {
            *conversation.attempt.borrow_mut() = attempt;
            let socket = Rc::new(socket);
            *conversation.socket.borrow_mut() = Some(socket.clone());
            for data in conversation.waiting.take() {
                conversation.send(&data);
            }
            if let Err(error) = receive(gateway, (guest, peer), conversation, &socket).await {
                conversation.attempt.borrow_mut().detail = Some(error.to_string());
            }
        }
        Some(Err(error)) => {
            error.describe(&mut attempt);
            *conversation.attempt.borrow_mut() = attempt;
            refuse(gateway, guest, peer);
        }
        None => conversation.attempt.borrow_mut().reason = Some("given-up".into()),
    }
    gateway.log.borrow_mut().write(conversation.attempt());
}

fn refuse(gateway: &Gateway, guest: SocketAddrV4, peer: SocketAddrV4) {
    let addresses = Datagram { guest, peer, data: &[] }.head();
    gateway.outbox.offer(Kind::DatagramRefused, &[&addresses]);
}

async fn open(gateway: &Gateway, to: SocketAddrV4, attempt: &mut Attempt) -> Result<UdpSocket, DialError> {
    let port = to.port();
    attempt.port = Some(port);
    let address = match gateway.peer(*to.ip()) {
        Peer::Name(name) => {
            attempt.name = Some(name.to_string());
            let allowed = gateway.policy().by_name(&name, port, Transport::Udp)?;
            attempt.rule = Some(allowed.rule);
            match allowed.destination {
                Destination::HostLoopback { .. } => Ipv4Addr::LOCALHOST.into(),
                Destination::Addresses(reach) => {
                    let found = gateway.addresses(&name, &reach).await?;
                    found.into_iter().next().ok_or(DialError::NoSuchName)?
                }
            }
        }
        Peer::Address(address) => {
            attempt.address = Some(address.into());
            attempt.rule = Some(gateway.policy().by_address(address, port, Transport::Udp)?.rule);
            refuse_own(address.into())?;
            address.into()
        }
    };
    attempt.address = Some(address);
    let any: SocketAddr =
        if address.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(any).await.map_err(DialError::Connect)?;
    socket.connect((address, port)).await.map_err(DialError::Connect)?;
    // Until the runtime has looked at a socket once, nothing can be sent without waiting: the first datagram,
    // often the only one, would be lost.
    socket.writable().await.map_err(DialError::Connect)?;
    Ok(socket)
}

/// Hands on what the peer sends, until nobody has said anything for a while.
async fn receive(
    gateway: &Gateway,
    (guest, peer): Pair,
    conversation: &Conversation,
    socket: &UdpSocket,
) -> io::Result<()> {
    loop {
        let idle = IDLE_LIMIT.saturating_sub(conversation.used.get().elapsed());
        tokio::select! {
            ready = socket.readable() => ready?,
            () = conversation.over.notified() => return Ok(()),
            () = tokio::time::sleep(idle) => {
                if conversation.used.get().elapsed() >= IDLE_LIMIT {
                    return Ok(());
                }
            }
        }
        let mut buffer = gateway.scratch.borrow_mut();
        match socket.try_recv(&mut buffer) {
            Ok(len) => {
                conversation.used.set(Instant::now());
                conversation.attempt.borrow_mut().received += len as u64;
                let data = &buffer[..len.min(Datagram::DATA_MAX_LEN)];
                let datagram = Datagram { guest, peer, data };
                gateway.outbox.offer(Kind::Datagram, &[&datagram.head(), data]);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // The peer's host says that nobody listens there.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                refuse(gateway, guest, peer);
                return Err(error);
            }
            Err(error) => return Err(error),
        }
    }
}
