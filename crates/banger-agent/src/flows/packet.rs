//! What a packet from the guest's kernel is.

use std::net::{Ipv4Addr, SocketAddrV4};

use smoltcp::wire::{Icmpv4Message, Icmpv4Packet, IpProtocol, Ipv4Packet, TcpPacket, UdpPacket};

/// Between whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Addresses {
    pub(super) guest: SocketAddrV4,
    pub(super) peer: SocketAddrV4,
}

/// A packet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Packet<'a> {
    Tcp {
        addresses: Addresses,
        is_syn: bool,
        is_reset: bool,
    },
    Udp {
        addresses: Addresses,
        data: &'a [u8],
    },
    EchoRequest {
        guest: Ipv4Addr,
        peer: Ipv4Addr,
        ident: u16,
        sequence: u16,
        data: &'a [u8],
    },
    /// Of another protocol, to a host.
    Foreign,
    /// IPv6, which the network does not have.
    Ipv6,
    /// What nobody expects an answer to: to a group, in fragments, damaged.
    Nothing,
}

impl<'a> Packet<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Self {
        match bytes.first().map(|byte| byte >> 4) {
            Some(6) => return Self::Ipv6,
            Some(4) => {}
            _ => return Self::Nothing,
        }
        Self::parse_v4(bytes).unwrap_or(Self::Nothing)
    }

    fn parse_v4(bytes: &'a [u8]) -> Option<Self> {
        // What does not hold together is nothing.
        let packet = Ipv4Packet::new_checked(bytes).ok()?;
        let (guest, peer) = (packet.src_addr(), packet.dst_addr());
        let is_fragment = packet.more_frags() || packet.frag_offset() != 0;
        if is_fragment || peer.is_multicast() || peer.is_broadcast() || !is_unicast(guest) {
            return None;
        }
        let payload = packet.payload();
        let addresses = |guest_port, peer_port| Addresses {
            guest: SocketAddrV4::new(guest, guest_port),
            peer: SocketAddrV4::new(peer, peer_port),
        };
        Some(match packet.next_header() {
            IpProtocol::Tcp => {
                // As above.
                let tcp = TcpPacket::new_checked(payload).ok()?;
                Self::Tcp {
                    addresses: addresses(tcp.src_port(), tcp.dst_port()),
                    is_syn: tcp.syn() && !tcp.ack(),
                    is_reset: tcp.rst(),
                }
            }
            IpProtocol::Udp => {
                // As above.
                let udp = UdpPacket::new_checked(payload).ok()?;
                Self::Udp { addresses: addresses(udp.src_port(), udp.dst_port()), data: udp.payload() }
            }
            IpProtocol::Icmp => {
                // As above.
                let icmp = Icmpv4Packet::new_checked(payload).ok()?;
                // Errors about our packets need no answer.
                if icmp.msg_type() != Icmpv4Message::EchoRequest {
                    return None;
                }
                let (ident, sequence) = (icmp.echo_ident(), icmp.echo_seq_no());
                Self::EchoRequest { guest, peer, ident, sequence, data: icmp.data() }
            }
            _ => Self::Foreign,
        })
    }
}

fn is_unicast(address: Ipv4Addr) -> bool {
    !address.is_multicast() && !address.is_broadcast() && !address.is_unspecified()
}
