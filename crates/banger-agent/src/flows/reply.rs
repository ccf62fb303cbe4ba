//! Packets that are made here, and not by a connection: refusals, and what came from outside.

use std::net::Ipv4Addr;

use banger_guest_protocol::flow::{Datagram, Echo, Refusal};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    Icmpv4DstUnreachable, Icmpv4Packet, Icmpv4Repr, IpProtocol, Ipv4Packet, Ipv4Repr, TcpControl, TcpPacket,
    TcpRepr, TcpSeqNumber, UdpPacket,
};

use super::connection::PacketSink;
use super::packet::Addresses;

const HOP_LIMIT: u8 = 64;
const IPV6_HEADER_LEN: usize = 40;
const UDP_HEADER_LEN: usize = 8;

/// How much of a packet an ICMP error quotes beyond its header, in bytes.
const QUOTED_LEN: usize = 8;

/// Sends an IPv4 packet whose payload `fill` writes.
fn send(
    sink: &mut dyn PacketSink,
    (from, to): (Ipv4Addr, Ipv4Addr),
    next_header: IpProtocol,
    payload_len: usize,
    fill: impl FnOnce(&mut [u8]),
) {
    let repr = Ipv4Repr { src_addr: from, dst_addr: to, next_header, payload_len, hop_limit: HOP_LIMIT };
    let bytes = sink.packet(repr.buffer_len() + payload_len);
    let mut packet = Ipv4Packet::new_unchecked(bytes);
    repr.emit(&mut packet, &ChecksumCapabilities::default());
    fill(packet.payload_mut());
    sink.send();
}

/// Answers a TCP packet that belongs to nothing.
pub(super) fn reset_tcp(bytes: &[u8], sink: &mut dyn PacketSink) {
    let Some((ip, tcp)) = tcp_of(bytes) else { return };
    let acknowledges = tcp.ack().then(|| tcp.ack_number());
    let repr = TcpRepr {
        src_port: tcp.dst_port(),
        dst_port: tcp.src_port(),
        control: TcpControl::Rst,
        seq_number: acknowledges.unwrap_or(TcpSeqNumber(0)),
        ack_number: acknowledges.is_none().then(|| tcp.seq_number() + tcp.segment_len()),
        window_len: 0,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None; 3],
        timestamp: None,
        payload: &[],
    };
    send(sink, (ip.dst_addr(), ip.src_addr()), IpProtocol::Tcp, repr.buffer_len(), |payload| {
        let (from, to) = (ip.dst_addr().into(), ip.src_addr().into());
        repr.emit(&mut TcpPacket::new_unchecked(payload), &from, &to, &ChecksumCapabilities::ignored());
    });
}

type Segment<'a> = (Ipv4Packet<&'a [u8]>, TcpPacket<&'a [u8]>);

fn tcp_of(bytes: &[u8]) -> Option<Segment<'_>> {
    // Both were checked when the packet was taken in.
    let ip = Ipv4Packet::new_checked(bytes).ok()?;
    let tcp = TcpPacket::new_checked(ip.payload()).ok()?;
    Some((ip, tcp))
}

/// Tells the guest's kernel that a connection, begun with `syn`, does not come about.
pub(super) fn refuse_tcp(syn: &[u8], refusal: Refusal, sink: &mut dyn PacketSink) {
    match refusal {
        Refusal::Refused => reset_tcp(syn, sink),
        Refusal::Unreachable => unreachable(syn, Icmpv4DstUnreachable::HostUnreachable, sink),
    }
}

/// Tells it that nobody takes packets of that protocol.
pub(super) fn refuse_protocol(bytes: &[u8], sink: &mut dyn PacketSink) {
    unreachable(bytes, Icmpv4DstUnreachable::ProtoUnreachable, sink);
}

fn unreachable(bytes: &[u8], reason: Icmpv4DstUnreachable, sink: &mut dyn PacketSink) {
    // It was checked when the packet was taken in.
    let Ok(packet) = Ipv4Packet::new_checked(bytes) else { return };
    let quoted = Ipv4Repr {
        src_addr: packet.src_addr(),
        dst_addr: packet.dst_addr(),
        next_header: packet.next_header(),
        payload_len: packet.payload().len(),
        hop_limit: packet.hop_limit(),
    };
    let data = &packet.payload()[..packet.payload().len().min(QUOTED_LEN)];
    icmp_error(quoted, data, reason, sink);
}

/// Tells it that nobody takes such datagrams.
pub(super) fn refuse_udp(addresses: Addresses, sink: &mut dyn PacketSink) {
    let [a, b] = addresses.guest.port().to_be_bytes();
    let [c, d] = addresses.peer.port().to_be_bytes();
    let quoted = Ipv4Repr {
        src_addr: *addresses.guest.ip(),
        dst_addr: *addresses.peer.ip(),
        next_header: IpProtocol::Udp,
        payload_len: UDP_HEADER_LEN,
        hop_limit: HOP_LIMIT,
    };
    let header = [a, b, c, d, 0, UDP_HEADER_LEN as u8, 0, 0];
    icmp_error(quoted, &header, Icmpv4DstUnreachable::PortUnreachable, sink);
}

/// Tells it that an echo request goes no further.
pub(super) fn refuse_echo(echo: Echo<'_>, sink: &mut dyn PacketSink) {
    let [a, b] = echo.ident.to_be_bytes();
    let [c, d] = echo.sequence.to_be_bytes();
    let quoted = Ipv4Repr {
        src_addr: echo.guest,
        dst_addr: echo.peer,
        next_header: IpProtocol::Icmp,
        payload_len: QUOTED_LEN,
        hop_limit: HOP_LIMIT,
    };
    // The kernel finds the program by what stands here; the checksum does not matter.
    icmp_error(quoted, &[8, 0, 0, 0, a, b, c, d], Icmpv4DstUnreachable::CommProhibited, sink);
}

fn icmp_error(header: Ipv4Repr, data: &[u8], reason: Icmpv4DstUnreachable, sink: &mut dyn PacketSink) {
    let repr = Icmpv4Repr::DstUnreachable { reason, header, data };
    send(sink, (header.dst_addr, header.src_addr), IpProtocol::Icmp, repr.buffer_len(), |payload| {
        repr.emit(&mut Icmpv4Packet::new_unchecked(payload), &ChecksumCapabilities::default());
    });
}

/// The answer to an echo request.
pub(super) fn echo_reply(echo: Echo<'_>, sink: &mut dyn PacketSink) {
    let repr = Icmpv4Repr::EchoReply { ident: echo.ident, seq_no: echo.sequence, data: echo.data };
    send(sink, (echo.peer, echo.guest), IpProtocol::Icmp, repr.buffer_len(), |payload| {
        repr.emit(&mut Icmpv4Packet::new_unchecked(payload), &ChecksumCapabilities::default());
    });
}

/// A datagram from outside.
pub(super) fn datagram(datagram: Datagram<'_>, sink: &mut dyn PacketSink) {
    let Datagram { guest, peer, data } = datagram;
    let len = UDP_HEADER_LEN + data.len();
    send(sink, (*peer.ip(), *guest.ip()), IpProtocol::Udp, len, |payload| {
        let mut packet = UdpPacket::new_unchecked(payload);
        packet.set_src_port(peer.port());
        packet.set_dst_port(guest.port());
        packet.set_len(len as u16);
        packet.payload_mut().copy_from_slice(data);
    });
}

/// Tells the guest's kernel that there is no IPv6: ICMPv6 "administratively prohibited", which ends the
/// attempt at once.
pub(super) fn refuse_ipv6(bytes: &[u8], sink: &mut dyn PacketSink) {
    const ICMPV6: u8 = 58;
    const HEADER_LEN: usize = 8;
    let Some((source, destination)) = bytes.get(8..24).zip(bytes.get(24..IPV6_HEADER_LEN)) else { return };
    // Errors answer no errors, and nothing that was sent to a group or from nobody.
    let is_icmp_error = bytes[6] == ICMPV6 && bytes.get(IPV6_HEADER_LEN).is_some_and(|kind| kind >> 7 == 0);
    if is_icmp_error || destination[0] == 0xff || source.iter().all(|byte| *byte == 0) {
        return;
    }
    let quoted = &bytes[..bytes.len().min(IPV6_HEADER_LEN + 64)];
    let len = HEADER_LEN + quoted.len();
    let packet = sink.packet(IPV6_HEADER_LEN + len);
    packet[0] = 0x60;
    packet[4..6].copy_from_slice(&(len as u16).to_be_bytes());
    (packet[6], packet[7]) = (ICMPV6, HOP_LIMIT);
    packet[8..24].copy_from_slice(destination);
    packet[24..40].copy_from_slice(source);
    (packet[40], packet[41]) = (1, 1);
    packet[48..].copy_from_slice(quoted);
    let words =
        packet[8..].chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0)));
    let mut sum = words.sum::<u32>() + len as u32 + u32::from(ICMPV6);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    packet[42..44].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    sink.send();
}
