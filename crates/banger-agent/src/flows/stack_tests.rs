use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use banger_guest_protocol::flow::{Datagram, HEADER_LEN, Header, Kind, Open, Refusal};
use proptest::prelude::*;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp;
use smoltcp::wire::{HardwareAddress, IpAddress, IpCidr};

use super::connection::{BUFFER_LEN, PacketSink, clock};
use super::stack::Stack;

const GUEST: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 7);

/// What the stack sends to the guest's kernel.
#[derive(Default)]
struct Packets {
    current: Vec<u8>,
    sent: VecDeque<Vec<u8>>,
}

impl PacketSink for Packets {
    fn packet(&mut self, len: usize) -> &mut [u8] {
        self.current = vec![0; len];
        &mut self.current
    }

    fn send(&mut self) {
        self.sent.push_back(std::mem::take(&mut self.current));
    }
}

/// A kernel's TCP, with one connection.
struct Kernel {
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    wire: Wire,
}

#[derive(Default)]
struct Wire {
    to_kernel: VecDeque<Vec<u8>>,
    from_kernel: VecDeque<Vec<u8>>,
}

struct Incoming(Vec<u8>);
struct Outgoing<'a>(&'a mut VecDeque<Vec<u8>>);

impl Device for Wire {
    type RxToken<'a> = Incoming;
    type TxToken<'a> = Outgoing<'a>;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Incoming, Outgoing<'_>)> {
        Some((Incoming(self.to_kernel.pop_front()?), Outgoing(&mut self.from_kernel)))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Outgoing<'_>> {
        Some(Outgoing(&mut self.from_kernel))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = 65_535;
        capabilities.checksum = smoltcp::phy::ChecksumCapabilities::ignored();
        capabilities
    }
}

impl RxToken for Incoming {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(&self.0)
    }
}

impl TxToken for Outgoing<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, fill: F) -> R {
        let mut packet = vec![0; len];
        let result = fill(&mut packet);
        self.0.push_back(packet);
        result
    }
}

impl Kernel {
    fn connecting(port: u16, own_port: u16) -> Self {
        let mut wire = Wire::default();
        let mut interface =
            Interface::new(Config::new(HardwareAddress::Ip), &mut wire, smoltcp::time::Instant::ZERO);
        interface.update_ip_addrs(|all| all.push(IpCidr::new(IpAddress::Ipv4(GUEST), 0)).unwrap());
        let buffer = || tcp::SocketBuffer::new(vec![0; 512 * 1024]);
        let mut sockets = SocketSet::new(Vec::new());
        let handle = sockets.add(tcp::Socket::new(buffer(), buffer()));
        let socket = sockets.get_mut::<tcp::Socket<'_>>(handle);
        socket.connect(interface.context(), (IpAddress::Ipv4(SERVER), port), own_port).unwrap();
        Self { interface, sockets, handle, wire }
    }

    fn socket(&mut self) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(self.handle)
    }
}

/// A guest and the stack in it; the test is the gateway.
struct Bench {
    kernel: Kernel,
    stack: Stack,
    packets: Packets,
    began: Instant,
    now: Instant,
}

type Frame = (Kind, u32, Vec<u8>);

impl Bench {
    fn new(port: u16) -> Self {
        let now = Instant::now();
        let mut bench = Self {
            kernel: Kernel::connecting(port, 40_000),
            stack: Stack::new(now),
            packets: Packets::default(),
            began: now,
            now,
        };
        bench.stack.gateway_came(now, &mut bench.packets);
        bench
    }

    /// Lets both go on until neither has anything to say; answers the frames for the gateway.
    fn run(&mut self) -> Vec<Frame> {
        for _ in 0..200 {
            self.now += Duration::from_millis(1);
            let clock = clock(self.began, self.now);
            self.kernel.interface.poll(clock, &mut self.kernel.wire, &mut self.kernel.sockets);
            let quiet = self.kernel.wire.from_kernel.is_empty();
            for packet in std::mem::take(&mut self.kernel.wire.from_kernel) {
                self.stack.packet(&packet, self.now, &mut self.packets);
            }
            self.stack.settle(self.now, &mut self.packets);
            if quiet && self.packets.sent.is_empty() {
                break;
            }
            self.kernel.wire.to_kernel.append(&mut self.packets.sent);
        }
        self.frames()
    }

    fn frames(&mut self) -> Vec<Frame> {
        let bytes = self.stack.frames().waiting().to_vec();
        self.stack.frames().clear();
        let (mut rest, mut frames) = (&bytes[..], Vec::new());
        while let Some(header) = rest.first_chunk::<HEADER_LEN>() {
            let header = Header::parse(header).unwrap();
            frames.push((header.kind, header.flow, rest[HEADER_LEN..HEADER_LEN + header.len].to_vec()));
            rest = &rest[HEADER_LEN + header.len..];
        }
        frames
    }

    fn gateway_says(&mut self, kind: Kind, flow: u32, body: &[u8]) {
        let header = Header { kind, len: body.len(), flow };
        self.stack.frame(header, body, self.now, &mut self.packets);
    }

    /// A connection that stands, with so much credit.
    fn connected(port: u16, credit: u32) -> (Self, u32) {
        let mut bench = Self::new(port);
        let frames = bench.run();
        let [(Kind::Open, flow, open)] = &frames[..] else { panic!("{frames:?}") };
        let open = Open::parse(open).unwrap();
        assert_eq!((*open.to.ip(), open.to.port(), open.credit as usize), (SERVER, port, BUFFER_LEN));
        let flow = *flow;
        bench.gateway_says(Kind::Opened, flow, &credit.to_le_bytes());
        assert_eq!(bench.run(), []);
        assert_eq!(bench.kernel.socket().state(), tcp::State::Established);
        (bench, flow)
    }
}

fn data(frames: &[Frame]) -> Vec<u8> {
    frames.iter().filter(|(kind, ..)| *kind == Kind::Data).flat_map(|(_, _, body)| body.clone()).collect()
}

#[test]
fn a_connection_stands_when_the_gateway_has_reached_the_server_and_not_before() {
    let mut bench = Bench::new(443);
    assert_eq!(bench.run().len(), 1);
    assert_eq!(bench.kernel.socket().state(), tcp::State::SynSent);
    // Asked again, the gateway is not.
    bench.now += Duration::from_secs(2);
    assert_eq!(bench.run(), []);
    bench.gateway_says(Kind::Opened, 1, &8192_u32.to_le_bytes());
    bench.run();
    assert_eq!(bench.kernel.socket().state(), tcp::State::Established);
}

#[test]
fn a_refusal_is_one_at_once() {
    for refusal in [Refusal::Refused, Refusal::Unreachable] {
        let mut bench = Bench::new(443);
        bench.run();
        bench.gateway_says(Kind::Refused, 1, &[refusal as u8]);
        // smoltcp takes a reset for one; of ICMP it knows nothing, and is only to get one.
        assert_eq!(bench.packets.sent.len(), 1);
        assert_eq!(bench.run(), []);
        if refusal == Refusal::Refused {
            assert_eq!(bench.kernel.socket().state(), tcp::State::Closed);
        }
    }
}

#[test]
fn both_sides_speak_and_end() {
    let (mut bench, flow) = Bench::connected(80, 8192);
    bench.kernel.socket().send_slice(b"request").unwrap();
    assert_eq!(data(&bench.run()), b"request");
    bench.gateway_says(Kind::Data, flow, b"answer");
    bench.gateway_says(Kind::End, flow, &[]);
    assert_eq!(bench.run(), []);
    let mut answer = [0; 16];
    assert_eq!(bench.kernel.socket().recv_slice(&mut answer), Ok(6));
    assert_eq!(bench.kernel.socket().state(), tcp::State::CloseWait);
    bench.kernel.socket().close();
    assert_eq!(bench.run(), [(Kind::End, flow, vec![])]);
    assert!(!bench.kernel.socket().is_open());
    // It is forgotten: nothing is said of it any more.
    bench.gateway_says(Kind::Data, flow, b"late");
    assert_eq!(bench.run(), []);
}

#[test]
fn what_a_server_says_at_once_is_not_lost() {
    let mut bench = Bench::new(22);
    bench.run();
    bench.gateway_says(Kind::Opened, 1, &8192_u32.to_le_bytes());
    bench.gateway_says(Kind::Data, 1, b"SSH-2.0-");
    bench.gateway_says(Kind::Data, 1, b"server");
    bench.gateway_says(Kind::End, 1, &[]);
    assert_eq!(bench.run(), []);
    let mut said = [0; 32];
    assert_eq!(bench.kernel.socket().recv_slice(&mut said), Ok(14));
    assert_eq!(bench.kernel.socket().state(), tcp::State::CloseWait);
}

#[test]
fn the_guest_sends_what_the_gateway_takes_and_no_more() {
    let (mut bench, flow) = Bench::connected(80, 1000);
    let sent: Vec<u8> = (0..300_000_u32).map(|number| number as u8).collect();
    bench.kernel.socket().send_slice(&sent).unwrap();
    let mut received = data(&bench.run());
    assert_eq!(received.len(), 1000);
    while received.len() < sent.len() {
        bench.gateway_says(Kind::Credit, flow, &50_000_u32.to_le_bytes());
        let more = data(&bench.run());
        assert!(!more.is_empty() && more.len() <= 50_000, "{}", more.len());
        received.extend(more);
    }
    assert!(received == sent);
}

#[test]
fn the_gateway_is_granted_what_the_guest_has_taken() {
    let (mut bench, flow) = Bench::connected(80, 8192);
    let mut granted = BUFFER_LEN;
    let (mut sent, mut taken) = (0, 0);
    let mut buffer = vec![0; 1 << 20];
    while sent < 2_000_000 {
        let count = granted.min(30_000);
        bench.gateway_says(Kind::Data, flow, &vec![7; count]);
        (sent, granted) = (sent + count, granted - count);
        for (kind, _, body) in bench.run() {
            assert_eq!(kind, Kind::Credit);
            granted += u32::from_le_bytes(body.try_into().unwrap()) as usize;
        }
        taken += bench.kernel.socket().recv_slice(&mut buffer).unwrap();
        assert!(granted <= BUFFER_LEN);
    }
    bench.run();
    taken += bench.kernel.socket().recv_slice(&mut buffer).unwrap();
    assert_eq!(taken, sent);
}

#[test]
fn a_gateway_that_goes_takes_the_connections_along_and_new_ones_wait_for_the_next() {
    let (mut bench, _) = Bench::connected(80, 8192);
    bench.stack.gateway_went(bench.now, &mut bench.packets);
    bench.run();
    assert_eq!(bench.kernel.socket().state(), tcp::State::Closed);
    bench.kernel = Kernel::connecting(81, 40_001);
    assert_eq!(bench.run(), []);
    bench.stack.gateway_came(bench.now, &mut bench.packets);
    // The kernel asks again.
    bench.now += Duration::from_secs(2);
    assert_eq!(bench.run().len(), 1);
    // Nobody waits for one that does not come.
    bench.stack.gateway_went(bench.now, &mut bench.packets);
    bench.kernel = Kernel::connecting(82, 40_002);
    bench.now += Duration::from_secs(20);
    bench.run();
    assert_eq!(bench.kernel.socket().state(), tcp::State::Closed);
}

#[test]
fn a_reset_is_one_on_the_other_side() {
    let (mut bench, flow) = Bench::connected(80, 8192);
    bench.kernel.socket().abort();
    assert_eq!(bench.run(), [(Kind::Reset, flow, vec![])]);
    let (mut bench, flow) = Bench::connected(80, 8192);
    bench.gateway_says(Kind::Reset, flow, &[]);
    bench.run();
    assert_eq!(bench.kernel.socket().state(), tcp::State::Closed);
}

proptest! {
    #[test]
    fn no_packet_and_no_frame_is_too_odd(packets: Vec<Vec<u8>>, first in prop_oneof![Just(0x45_u8), Just(0x60)], frames: Vec<(u8, u32, Vec<u8>)>) {
        let mut bench = Bench::new(80);
        for mut packet in packets {
            if let Some(byte) = packet.first_mut() {
                *byte = first;
            }
            bench.stack.packet(&packet, bench.now, &mut bench.packets);
        }
        for (kind, flow, body) in frames {
            let header = Header::parse(&[kind % 13, 0, 0, 0, flow as u8 % 3, 0, 0, 0]);
            if let Ok(header) = header {
                bench.gateway_says(header.kind, header.flow, &body);
            }
        }
        bench.stack.settle(bench.now, &mut bench.packets);
    }

    #[test]
    fn datagrams_go_out_as_they_came_in(port in 1_u16.., data in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let mut bench = Bench::new(80);
        let peer = std::net::SocketAddrV4::new(SERVER, port);
        let datagram = Datagram { guest: std::net::SocketAddrV4::new(GUEST, 5353), peer, data: &data };
        let body = [&datagram.head()[..], &data].concat();
        bench.gateway_says(Kind::Datagram, 0, &body);
        let mut packet = bench.packets.sent.pop_front().unwrap();
        // Back it goes.
        packet[12..16].copy_from_slice(&GUEST.octets());
        packet[16..20].copy_from_slice(&SERVER.octets());
        let ports = packet[20..24].to_vec();
        packet[20..22].copy_from_slice(&ports[2..]);
        packet[22..24].copy_from_slice(&ports[..2]);
        bench.stack.packet(&packet, bench.now, &mut bench.packets);
        prop_assert_eq!(bench.frames(), [(Kind::Datagram, 0, body)]);
    }
}
