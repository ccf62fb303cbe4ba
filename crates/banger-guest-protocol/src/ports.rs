//! What listens in the guest.
//!
//! The guest says it, and the host believes none of it: it only shows it and offers to forward it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::QueryError;

/// Most listeners that are told. A thousand of them are no list for people any more.
pub const LISTENERS_MAX: usize = 512;

/// Longest text of a [`Process`], in bytes; with it, an answer stays below what a host takes.
pub const COMMAND_MAX_LEN: usize = 256;

/// How to look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortsQuery {
    /// Connect to TCP listeners to find out what they speak. It takes up to a second.
    pub probe: bool,
}

impl PortsQuery {
    /// `probe=...`
    pub fn to_query(self) -> String {
        format!("probe={}", self.probe)
    }

    /// # Errors
    ///
    /// When there is anything in it but `probe`, which may be absent.
    pub fn from_query(query: &str) -> Result<Self, QueryError> {
        match query {
            "" | "probe=false" => Ok(Self { probe: false }),
            "probe=true" => Ok(Self { probe: true }),
            other if other.starts_with("probe=") => Err(QueryError::Flag { key: "probe" }),
            other => Err(QueryError::Unknown { key: other.split('=').next().unwrap_or_default().to_owned() }),
        }
    }
}

/// The answer to [`PortsQuery`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// By protocol and port.
    pub listeners: Vec<Listener>,
    /// There are more than [`LISTENERS_MAX`].
    #[serde(default)]
    pub truncated: bool,
}

/// A socket that waits for others to begin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    pub protocol: Protocol,
    pub port: u16,
    /// One, but for a process that listens on all addresses with a socket for each family: `0.0.0.0` and
    /// `::`.
    pub addresses: Vec<IpAddr>,
    /// What it speaks, if that was found out.
    #[serde(default)]
    pub service: Option<Service>,
    /// Who listens: the oldest process that holds the socket. None when the kernel itself does.
    #[serde(default)]
    pub process: Option<Process>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    Tcp,
    Udp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    Https,
    Http,
    Ssh,
    /// Of an agent that knows more than this host.
    #[serde(other)]
    Other,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    pub pid: u32,
    /// As the kernel calls it.
    pub name: String,
    /// Its arguments with spaces between them, cut off at [`COMMAND_MAX_LEN`].
    pub command: String,
}

/// The ports on which somebody takes TCP connections: a line now, and one after each change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpPorts {
    /// Sorted, at most [`LISTENERS_MAX`].
    pub ports: Vec<u16>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn queries_are_understood() {
        for probe in [true, false] {
            assert_eq!(PortsQuery::from_query(&PortsQuery { probe }.to_query()), Ok(PortsQuery { probe }));
        }
        assert_eq!(PortsQuery::from_query(""), Ok(PortsQuery::default()));
        assert_eq!(PortsQuery::from_query("probe=1"), Err(QueryError::Flag { key: "probe" }));
        assert_eq!(PortsQuery::from_query("a=b"), Err(QueryError::Unknown { key: "a".into() }));
    }

    proptest! {
        #[test]
        fn any_query_is_answered(query: String) {
            let _ = PortsQuery::from_query(&query);
        }
    }

    /// The largest answer of an honest agent is one that the host takes (1 MiB).
    #[test]
    fn the_largest_answer_is_taken() {
        let process =
            Process { pid: u32::MAX, name: "\u{1}".repeat(15), command: "\u{1}".repeat(COMMAND_MAX_LEN) };
        let listener = Listener {
            protocol: Protocol::Tcp,
            port: u16::MAX,
            addresses: vec!["ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".parse().unwrap(); 2],
            service: Some(Service::Https),
            process: Some(process),
        };
        let ports = Ports { listeners: vec![listener; LISTENERS_MAX], truncated: true };
        assert!(serde_json::to_vec(&ports).unwrap().len() < 1 << 20);
    }
}
