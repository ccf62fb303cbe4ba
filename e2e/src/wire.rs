//! Every packet of a network namespace, looked at.

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use rustix::net::{AddressFamily, Protocol, RecvFlags, SocketFlags, SocketType, recv, socket_with};

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMP6: u8 = 58;

/// A socket that gets each packet of the namespace it is made in, from its IP header on.
pub(crate) fn listen() -> io::Result<OwnedFd> {
    // `ETH_P_ALL`, in the byte order of the network.
    let all = u32::from(3_u16.to_be()).try_into().map(Protocol::from_raw).ok();
    Ok(socket_with(AddressFamily::PACKET, SocketType::DGRAM, SocketFlags::CLOEXEC, all)?)
}

/// Notes whom packets are sent to, until the test's process ends.
pub(crate) fn watch(socket: OwnedFd, sent: &Arc<Mutex<BTreeSet<String>>>) {
    let sent = sent.clone();
    std::thread::spawn(move || {
        let mut packet = vec![0; 128 * 1024];
        while let Ok((len, _)) = recv(&socket, packet.as_mut_slice(), RecvFlags::empty()) {
            if let Some(text) = describe(&packet[..len]) {
                sent.lock().expect("readers do not panic").insert(text);
            }
        }
    });
}

/// To whom it begins something; none for answers.
fn describe(packet: &[u8]) -> Option<String> {
    let (protocol, from_server, to, rest) = match packet.first()? >> 4 {
        4 => {
            let from: [u8; 4] = packet.get(12..16)?.try_into().ok()?;
            let to: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
            let header = usize::from(packet[0] & 15) * 4;
            (packet[9], is_server(&from), Ipv4Addr::from(to).to_string(), packet.get(header..)?)
        }
        6 => {
            let from: [u8; 16] = packet.get(8..24)?.try_into().ok()?;
            let to: [u8; 16] = packet.get(24..40)?.try_into().ok()?;
            let from_server = from == SERVER6.octets();
            (packet[6], from_server, Ipv6Addr::from(to).to_string(), packet.get(40..)?)
        }
        _ => return None,
    };
    let port = || Some(u16::from_be_bytes([*rest.get(2)?, *rest.get(3)?]));
    match protocol {
        // SYN without ACK.
        TCP if rest.get(13)? & 0x12 == 0x02 => Some(format!("tcp {to} {}", port()?)),
        TCP => None,
        UDP if !from_server => Some(format!("udp {to} {}", port()?)),
        ICMP if rest.first()? == &8 => Some(format!("icmp {to}")),
        ICMP6 if rest.first()? == &128 => Some(format!("icmp {to}")),
        // Errors, answers, and what IPv6 has for ARP and groups (whose packets have a hop-by-hop header: 0).
        UDP | ICMP | ICMP6 | 0 | 2 => None,
        other => Some(format!("protocol {other} {to}")),
    }
}

/// The servers that answer over UDP.
fn is_server(from: &[u8; 4]) -> bool {
    *from == [44, 0, 0, 2]
}

const SERVER6: Ipv6Addr = Ipv6Addr::new(0x2a00, 0x44, 0, 0, 0, 0, 0, 2);
