//! One TCP connection of the guest's, with the server's end of it here.
//!
//! Each has an interface of smoltcp's for itself: looking through all sockets at each packet would make many
//! connections slow.

use std::time::Instant;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Checksum, ChecksumCapabilities, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};

use super::packet::Addresses;
use super::tun::MTU;

/// How much of what the server sends may wait for the guest's program, and the other way round. The memory is
/// taken as it is used.
pub(super) const BUFFER_LEN: usize = 256 * 1024;

/// Where packets to the guest's kernel go.
pub(super) trait PacketSink {
    /// Room for a packet of that length, all of whose data the caller writes; what its headers leave out is
    /// zero.
    fn packet(&mut self, len: usize) -> &mut [u8];
    /// Sends what was last given room.
    fn send(&mut self);
}

/// An accepted connection.
pub(super) struct Connection {
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    /// What the server said before the guest's kernel knew that it is connected: smoltcp takes nothing then.
    early: Vec<u8>,
    /// And it said that this was all.
    early_end: bool,
}

impl Connection {
    /// One that nobody has asked for yet.
    pub(super) fn unused(clock: smoltcp::time::Instant, sink: &mut dyn PacketSink) -> Self {
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = random();
        let interface = Interface::new(config, &mut Link { packet: None, sink }, clock);
        let buffer = || tcp::SocketBuffer::new(vec![0; BUFFER_LEN]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        // The other end is in this very machine: nothing is gained by waiting for more.
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(None);
        let mut sockets = SocketSet::new(Vec::with_capacity(1));
        let handle = sockets.add(socket);
        Self { interface, sockets, handle, early: Vec::new(), early_end: false }
    }

    /// Accepts the connection that the guest's kernel has asked for with the packet `syn`. False when that is
    /// no such packet.
    pub(super) fn accept(
        &mut self,
        addresses: Addresses,
        syn: &[u8],
        clock: smoltcp::time::Instant,
        sink: &mut dyn PacketSink,
    ) -> bool {
        let address = IpAddress::Ipv4(*addresses.peer.ip());
        self.interface.update_ip_addrs(|addresses| {
            addresses.clear();
            // The whole world is on the other side of the TUN. There is room for one.
            let _fits = addresses.push(IpCidr::new(address, 0));
        });
        (self.early, self.early_end) = (Vec::new(), false);
        let socket = self.socket();
        socket.abort();
        // An aborted socket may listen.
        if socket.listen((address, addresses.peer.port())).is_err() {
            return false;
        }
        self.packet(syn, clock, sink);
        self.is_open()
    }

    /// Takes a packet from the guest's kernel.
    pub(super) fn packet(&mut self, packet: &[u8], clock: smoltcp::time::Instant, sink: &mut dyn PacketSink) {
        let mut link = Link { packet: Some(packet), sink };
        self.interface.poll_ingress_single(clock, &mut link, &mut self.sockets);
        if !self.is_half_open() {
            self.push_early();
        }
    }

    /// Our half of the handshake may be on its way; the kernel's has not come.
    fn is_half_open(&mut self) -> bool {
        self.socket().state() == tcp::State::SynReceived
    }

    fn push_early(&mut self) {
        let early = std::mem::take(&mut self.early);
        // All of it fits: no more was granted. Where the kernel has reset the connection it is of no use.
        let _all_or_reset = self.socket().send_slice(&early);
        if std::mem::take(&mut self.early_end) {
            self.socket().close();
        }
    }

    /// Sends what is to be sent now, and says when to call again.
    pub(super) fn send(
        &mut self,
        clock: smoltcp::time::Instant,
        sink: &mut dyn PacketSink,
    ) -> Option<smoltcp::time::Instant> {
        let mut link = Link { packet: None, sink };
        self.interface.poll_egress(clock, &mut link, &mut self.sockets);
        self.interface.poll_at(clock, &self.sockets)
    }

    /// Hands on what the guest's program has sent: `take` says how much of it it takes.
    pub(super) fn take_received(&mut self, mut take: impl FnMut(&[u8]) -> usize) {
        let socket = self.socket();
        while socket.can_recv() {
            let taken = socket.recv(|bytes| {
                let taken = take(bytes);
                (taken, taken)
            });
            // One that was reset meanwhile has nothing to give.
            if taken.unwrap_or_default() == 0 {
                return;
            }
        }
    }

    /// Queues what the server has sent; says how much of it there was room for.
    pub(super) fn push(&mut self, bytes: &[u8]) -> usize {
        if self.is_half_open() {
            self.early.extend_from_slice(bytes);
            return bytes.len();
        }
        // A program that takes no more has reset the connection: the flow ends.
        self.socket().send_slice(bytes).unwrap_or_default()
    }

    /// How many bytes [`Self::push`] has room for.
    pub(super) fn room(&mut self) -> usize {
        let early = self.early.len();
        let socket = self.socket();
        socket.send_capacity() - socket.send_queue() - early
    }

    /// The guest's program has said that it sends nothing more, and all it sent was taken.
    pub(super) fn is_received(&mut self) -> bool {
        use tcp::State::{CloseWait, Closed, Closing, LastAck, TimeWait};
        let socket = self.socket();
        matches!(socket.state(), CloseWait | Closed | Closing | LastAck | TimeWait) && !socket.may_recv()
    }

    /// The server sends nothing more.
    pub(super) fn end(&mut self) {
        if self.is_half_open() {
            self.early_end = true;
            return;
        }
        self.socket().close();
    }

    pub(super) fn reset(&mut self) {
        self.socket().abort();
    }

    /// False once the guest's kernel has nothing more to say: both sides have ended, or it has reset the
    /// connection. It may have the last word once more; whoever gets that without a connection resets it.
    pub(super) fn is_open(&mut self) -> bool {
        !matches!(self.socket().state(), tcp::State::Closed | tcp::State::Listen | tcp::State::TimeWait)
    }

    fn socket(&mut self) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(self.handle)
    }
}

fn random() -> u64 {
    let mut bytes = [0; 8];
    // Initial sequence numbers guard against those who cannot see the packets; nobody is between us and the
    // kernel.
    let _few_are_never_short = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    u64::from_ne_bytes(bytes)
}

/// smoltcp counts from an instant of its own.
pub(super) fn clock(since: Instant, now: Instant) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_micros(now.saturating_duration_since(since).as_micros() as i64)
}

/// A network device with at most one packet to give.
struct Link<'a> {
    packet: Option<&'a [u8]>,
    sink: &'a mut dyn PacketSink,
}

struct Incoming<'a>(&'a [u8]);
struct Outgoing<'a>(&'a mut dyn PacketSink);

impl Device for Link<'_> {
    type RxToken<'a>
        = Incoming<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = Outgoing<'a>
    where
        Self: 'a;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Incoming<'_>, Outgoing<'_>)> {
        Some((Incoming(self.packet.take()?), Outgoing(self.sink)))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Outgoing<'_>> {
        Some(Outgoing(self.sink))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = MTU;
        // Memory does not lose bits. The kernel insists on the header's.
        capabilities.checksum = ChecksumCapabilities::ignored();
        capabilities.checksum.ipv4 = Checksum::Tx;
        capabilities
    }
}

impl RxToken for Incoming<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(self.0)
    }
}

impl TxToken for Outgoing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, fill: F) -> R {
        let result = fill(self.0.packet(len));
        self.0.send();
        result
    }
}
