//! The kernel's tables of sockets, `/proc/net/{tcp,tcp6,udp,udp6}`.

use std::fs::File;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use banger_guest_protocol::ports::Protocol;

use crate::system_error::{Context, SystemError};

/// Most that is read of one table. The kernel shows listening TCP sockets before all others, so what is cut
/// off are connections, or the UDP sockets after the first 20,000.
const TABLE_MAX_LEN: u64 = 4 * 1024 * 1024;

/// The states in which a socket waits for others to begin: of TCP "listening", of UDP "not connected".
const TCP_LISTEN: &str = "0A";
const UDP_UNCONNECTED: &str = "07";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    Tcp4,
    Tcp6,
    Udp4,
    Udp6,
}

impl Table {
    fn path(self) -> &'static str {
        match self {
            Self::Tcp4 => "/proc/net/tcp",
            Self::Tcp6 => "/proc/net/tcp6",
            Self::Udp4 => "/proc/net/udp",
            Self::Udp6 => "/proc/net/udp6",
        }
    }

    fn protocol(self) -> Protocol {
        match self {
            Self::Tcp4 | Self::Tcp6 => Protocol::Tcp,
            Self::Udp4 | Self::Udp6 => Protocol::Udp,
        }
    }
}

/// A socket that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Socket {
    pub(super) protocol: Protocol,
    pub(super) address: IpAddr,
    pub(super) port: u16,
    pub(super) inode: u64,
}

/// The sockets of these tables that wait. A table that is not there (a kernel without IPv6) is empty.
pub(super) fn listeners(tables: &[Table]) -> Result<Vec<Socket>, SystemError> {
    let mut sockets = Vec::new();
    for table in tables {
        match File::open(table.path()) {
            Ok(file) => read(*table, file, &mut sockets).context("read", table.path())?,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(SystemError::new("read", table.path(), error)),
        }
    }
    Ok(sockets)
}

fn read(table: Table, file: File, sockets: &mut Vec<Socket>) -> std::io::Result<()> {
    // The first line is a heading.
    for line in BufReader::with_capacity(32 * 1024, file.take(TABLE_MAX_LEN)).lines().skip(1) {
        let line = line?;
        match parse(table, &line) {
            Line::Waits(socket) => sockets.push(socket),
            // Only connections follow, and there may be many.
            Line::Connection if table.protocol() == Protocol::Tcp => break,
            Line::Connection | Line::Unintelligible => {}
        }
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Waits(Socket),
    Connection,
    Unintelligible,
}

/// Reads one line: `sl local_address rem_address st tx:rx tr:tm retrnsmt uid timeout inode ...`.
fn parse(table: Table, line: &str) -> Line {
    let mut words = line.split_ascii_whitespace();
    let (local, state, inode) = (words.nth(1), words.nth(1), words.nth(5));
    let (Some(local), Some(state), Some(inode)) = (local, state, inode) else { return Line::Unintelligible };
    let waits = match table.protocol() {
        Protocol::Tcp => TCP_LISTEN,
        Protocol::Udp => UDP_UNCONNECTED,
    };
    if state != waits {
        return Line::Connection;
    }
    let socket = || {
        let (address, port) = local.split_once(':')?;
        Some(Socket {
            protocol: table.protocol(),
            address: parse_address(table, address)?,
            port: u16::from_str_radix(port, 16).ok()?,
            inode: inode.parse().ok()?,
        })
    };
    socket().filter(|socket| socket.port != 0).map_or(Line::Unintelligible, Line::Waits)
}

/// An address is printed as numbers of 32 bits, each in the order of the machine.
fn parse_address(table: Table, digits: &str) -> Option<IpAddr> {
    let word = |index: usize| {
        let digits = digits.get(8 * index..8 * (index + 1))?;
        Some(u32::from_str_radix(digits, 16).ok()?.to_ne_bytes())
    };
    match (table, digits.len()) {
        (Table::Tcp4 | Table::Udp4, 8) => Some(Ipv4Addr::from(word(0)?).into()),
        (Table::Tcp6 | Table::Udp6, 32) => {
            let mut bytes = [0; 16];
            for (index, part) in bytes.chunks_exact_mut(4).enumerate() {
                part.copy_from_slice(&word(index)?);
            }
            // Some programs listen for IPv4 on a socket of the other family.
            Some(IpAddr::from(Ipv6Addr::from(bytes)).to_canonical())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn waits(table: Table, line: &str) -> (String, u16, u64) {
        let Line::Waits(socket) = parse(table, line) else { panic!("{:?}: {line}", parse(table, line)) };
        (socket.address.to_string(), socket.port, socket.inode)
    }

    #[test]
    fn lines_of_a_kernel_are_understood() {
        let ssh = "   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1 0000000000000000 100 0 0 10 0";
        assert_eq!(waits(Table::Tcp4, ssh), ("0.0.0.0".into(), 22, 12345));
        let local =
            "   1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 7 1";
        assert_eq!(waits(Table::Tcp4, local), ("127.0.0.1".into(), 8080, 7));
        let six = "   0: 00000000000000000000000001000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 9 1";
        assert_eq!(waits(Table::Tcp6, six), ("::1".into(), 80, 9));
        let mapped = "   0: 0000000000000000FFFF00000100007F:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 9 1";
        assert_eq!(waits(Table::Tcp6, mapped), ("127.0.0.1".into(), 80, 9));
        let udp = "  345: 00000000:14E9 00000000:0000 07 00000000:00000000 00:00000000 00000000   100        0 11 2 0000000000000000 0";
        assert_eq!(waits(Table::Udp4, udp), ("0.0.0.0".into(), 5353, 11));
        assert_eq!(parse(Table::Tcp4, &ssh.replace(" 0A ", " 01 ")), Line::Connection);
        assert_eq!(parse(Table::Udp4, &udp.replace(" 07 ", " 01 ")), Line::Connection);
        assert_eq!(parse(Table::Tcp6, ssh), Line::Unintelligible);
        assert_eq!(parse(Table::Tcp4, "   0: 00000000:0016"), Line::Unintelligible);
    }

    proptest! {
        #[test]
        fn any_line_is_taken(line: String) {
            for table in [Table::Tcp4, Table::Tcp6, Table::Udp4, Table::Udp6] {
                parse(table, &line);
            }
        }

        #[test]
        fn what_a_kernel_prints_is_read_back(
            v6: bool, bits: u128, port in 1_u16.., inode: u64, rest in "[ 0-9A-F:]{0,40}",
        ) {
            let (table, address, digits) = if v6 {
                let bytes = bits.to_be_bytes();
                let words = bytes.chunks_exact(4).map(|word| u32::from_ne_bytes(word.try_into().unwrap()));
                let digits: String = words.map(|word| format!("{word:08X}")).collect();
                (Table::Tcp6, IpAddr::from(bytes).to_canonical(), digits)
            } else {
                let address = Ipv4Addr::from(bits as u32);
                (Table::Tcp4, address.into(), format!("{:08X}", u32::from_ne_bytes(address.octets())))
            };
            let line = format!(" 7: {digits}:{port:04X} 0:0 0A 0:0 0:0 0 1000 0 {inode} {rest}");
            prop_assert_eq!(
                parse(table, &line),
                Line::Waits(Socket { protocol: Protocol::Tcp, address, port, inode })
            );
        }
    }

    #[test]
    fn our_own_listeners_are_in_the_tables() {
        let listeners_here = ["127.0.0.1:0", "[::1]:0"].map(std::net::TcpListener::bind);
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let found = listeners(&[Table::Tcp4, Table::Tcp6, Table::Udp4, Table::Udp6]).unwrap();
        let has = |protocol, address: std::net::SocketAddr| {
            let same = |socket: &Socket| {
                (socket.protocol, socket.address, socket.port) == (protocol, address.ip(), address.port())
            };
            found.iter().any(same)
        };
        for listener in listeners_here.iter().flatten() {
            assert!(has(Protocol::Tcp, listener.local_addr().unwrap()), "{listener:?}");
        }
        assert!(has(Protocol::Udp, udp.local_addr().unwrap()));
    }
}
