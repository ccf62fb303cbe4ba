//! What listens in the guest: read from `/proc`, without any tool that the image would have to bring.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use banger_guest_protocol::ports::{LISTENERS_MAX, Listener, Ports, PortsQuery, Process, TcpPorts};

use crate::system_error::SystemError;

mod owners;
mod probe;
mod proc_net;
mod watch;

use proc_net::{Socket, Table};
pub use watch::watch;

/// Looks at every socket that waits for others to begin, and at who has it.
///
/// # Errors
///
/// When `/proc` cannot be read.
pub async fn look(how: PortsQuery) -> Result<Ports, SystemError> {
    let looked = tokio::task::spawn_blocking(|| {
        let mut sockets = proc_net::listeners(&[Table::Tcp4, Table::Tcp6, Table::Udp4, Table::Udp6])?;
        let truncated = distinct(&mut sockets);
        let owners = owners::of(sockets.iter().map(|socket| socket.inode));
        Ok(Ports { listeners: merged(sockets, &owners), truncated })
    });
    let failed = |error| SystemError::new("finish", "the look at /proc", std::io::Error::other(error));
    let mut ports = looked.await.map_err(failed)??;
    if how.probe {
        probe::all(&mut ports.listeners).await;
    }
    Ok(ports)
}

/// The ports on which somebody takes TCP connections.
///
/// # Errors
///
/// As [`look`].
pub fn tcp_ports() -> Result<TcpPorts, SystemError> {
    let sockets = proc_net::listeners(&[Table::Tcp4, Table::Tcp6])?;
    let mut ports: Vec<u16> = sockets.iter().map(|socket| socket.port).collect();
    ports.sort_unstable();
    ports.dedup();
    ports.truncate(LISTENERS_MAX);
    Ok(TcpPorts { ports })
}

/// The addresses at which somebody listens on a port, apart from loopback and those that mean all.
pub fn own_addresses(port: u16) -> Vec<IpAddr> {
    // Nobody listens where nothing can be read, and that is what the caller says then.
    let sockets = proc_net::listeners(&[Table::Tcp4, Table::Tcp6]).unwrap_or_default();
    let addresses = sockets.iter().filter(|socket| socket.port == port).map(|socket| socket.address);
    addresses.filter(|address| !address.is_unspecified() && !address.is_loopback()).take(8).collect()
}

/// Sorts them, and leaves one of several at the same address and port (`SO_REUSEPORT`), and as many as are
/// told. Says whether there were more.
fn distinct(sockets: &mut Vec<Socket>) -> bool {
    sockets.sort_by_key(|socket| (socket.protocol, socket.port, socket.address, socket.inode));
    sockets.dedup_by_key(|socket| (socket.protocol, socket.port, socket.address));
    let truncated = sockets.len() > LISTENERS_MAX;
    sockets.truncate(LISTENERS_MAX);
    truncated
}

/// One line for what a process does with two sockets, one for each family.
fn merged(sockets: Vec<Socket>, owners: &BTreeMap<u64, Process>) -> Vec<Listener> {
    let mut listeners: Vec<Listener> = Vec::new();
    for Socket { protocol, address, port, inode } in sockets {
        let process = owners.get(&inode).cloned();
        // They are sorted: `0.0.0.0` comes before `::`.
        let other_half = listeners.iter_mut().rev().take_while(|other| other.port == port).find(|other| {
            address == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
                && other.protocol == protocol
                && other.addresses == [IpAddr::V4(Ipv4Addr::UNSPECIFIED)]
                && other.process == process
        });
        match other_half {
            Some(other) => other.addresses.push(address),
            None => {
                listeners.push(Listener { protocol, port, addresses: vec![address], service: None, process })
            }
        }
    }
    listeners
}

#[cfg(test)]
mod tests {
    use banger_guest_protocol::ports::Protocol;

    use super::*;

    fn socket(address: &str, port: u16, inode: u64) -> Socket {
        Socket { protocol: Protocol::Tcp, address: address.parse().unwrap(), port, inode }
    }

    fn process(pid: u32) -> Process {
        Process { pid, name: "x".into(), command: String::new() }
    }

    #[test]
    fn the_two_families_of_one_process_are_one_line() {
        let mut sockets = vec![
            socket("::", 80, 1),
            socket("0.0.0.0", 80, 2),
            socket("0.0.0.0", 80, 3),
            socket("::", 81, 4),
            socket("127.0.0.1", 81, 5),
            socket("0.0.0.0", 82, 6),
            socket("::", 82, 7),
        ];
        assert!(!distinct(&mut sockets));
        let owners = [(1, 10), (2, 10), (3, 10), (4, 10), (6, 10), (7, 11)];
        let owners = owners.into_iter().map(|(inode, pid)| (inode, process(pid))).collect();
        let lines: Vec<_> = merged(sockets, &owners)
            .into_iter()
            .map(|line| {
                let addresses: Vec<_> = line.addresses.iter().map(ToString::to_string).collect();
                (line.port, addresses.join(" "), line.process.map(|process| process.pid))
            })
            .collect();
        let line = |port, addresses: &str, pid| (port, addresses.to_owned(), pid);
        assert_eq!(
            lines,
            [
                line(80, "0.0.0.0 ::", Some(10)),
                line(81, "127.0.0.1", None),
                line(81, "::", Some(10)),
                line(82, "0.0.0.0", Some(10)),
                line(82, "::", Some(11)),
            ]
        );
    }

    #[test]
    fn there_is_an_end_to_what_is_told() {
        let mut sockets = (1..=600).map(|port| socket("0.0.0.0", port, port.into())).collect();
        assert!(distinct(&mut sockets));
        assert_eq!(sockets.len(), LISTENERS_MAX);
    }
}
