//! What listens in a VM, and how the host reaches it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What listens in a VM. Everything in it is what the guest says, bounded but otherwise as it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VmPorts {
    /// By protocol and port.
    pub listeners: Vec<Listener>,
    /// There are more than are told.
    pub truncated: bool,
}

/// A socket of the guest's that waits for others to begin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Listener {
    pub protocol: Protocol,
    pub port: u16,
    /// Where it listens in the guest; `0.0.0.0` and `::` mean all of its addresses.
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<IpAddr>,
    /// Only programs in the guest reach it, unless it is forwarded.
    pub loopback_only: bool,
    pub service: Option<Service>,
    pub pid: Option<u32>,
    pub process: Option<String>,
    /// The process and its arguments, cut off where they are long.
    pub command: Option<String>,
    /// The endpoint for people: where it can be reached from the host if it is forwarded, else by the VM's
    /// name.
    pub endpoint: String,
    /// Addresses of the host that lead to it.
    #[schema(value_type = Vec<String>)]
    pub forwarded: Vec<SocketAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    Tcp,
    Udp,
}

/// What it speaks, if that was found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    Https,
    Http,
    Ssh,
}

/// A TCP port of the host that leads to one of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PortForward {
    /// The host's address; loopback unless others shall reach it.
    #[serde(default = "PortForward::loopback")]
    #[schema(value_type = String)]
    pub address: IpAddr,
    /// The host's port; 0: one that is free.
    pub local: u16,
    /// The guest's port.
    pub guest: u16,
}

impl PortForward {
    fn loopback() -> IpAddr {
        Ipv4Addr::LOCALHOST.into()
    }
}

/// Why a text is no [`PortForward`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortForwardError {
    #[error("{0:?} is no port; ports are 1 to 65535")]
    Port(String),
    #[error("{0:?} is no IP address")]
    Address(String),
    #[error("{0:?} is not [ADDR:]LOCAL:GUEST; an IPv6 address needs brackets: [::1]:8080:80")]
    Form(String),
}

/// `[ADDR:]LOCAL:GUEST`, or only `GUEST`: the same port here and there. LOCAL may be 0.
impl std::str::FromStr for PortForward {
    type Err = PortForwardError;

    fn from_str(text: &str) -> Result<Self, PortForwardError> {
        let number = |word: &str| {
            let is_number = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| word.parse().ok()).flatten().ok_or_else(|| PortForwardError::Port(word.into()))
        };
        let guest_port = |word: &str| match number(word)? {
            0 => Err(PortForwardError::Port(word.into())),
            port => Ok(port),
        };
        let (before, guest) = match text.rsplit_once(':') {
            Some((before, guest)) => (Some(before), guest_port(guest)?),
            None => (None, guest_port(text)?),
        };
        let (address, local) = match before {
            None => (None, guest),
            Some(before) => match before.rsplit_once(':') {
                None => (None, number(before)?),
                Some((address, local)) => (Some(address), number(local)?),
            },
        };
        let address = match address {
            None => Self::loopback(),
            Some(address) => match address.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')) {
                Some(inner) => inner.parse().map_err(|_| PortForwardError::Address(inner.into()))?,
                None if address.contains(':') => return Err(PortForwardError::Form(text.into())),
                None => address.parse().map_err(|_| PortForwardError::Address(address.into()))?,
            },
        };
        Ok(Self { address, local, guest })
    }
}

/// What to forward for as long as the answer is read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ForwardPorts {
    #[serde(default)]
    pub ports: Vec<PortForward>,
    /// Every TCP port that the guest listens on, at the VM's own loopback address.
    #[serde(default)]
    pub auto: bool,
}

/// What happens to forwards, one JSON object a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ForwardEvent {
    /// The host's address leads to the guest's port from now on.
    Listening {
        #[schema(value_type = String)]
        address: SocketAddr,
        port: u16,
    },
    /// It does not any more: the guest does not listen there now.
    Closed {
        #[schema(value_type = String)]
        address: SocketAddr,
        port: u16,
    },
    /// A connection came to nothing. Told once for each port, until one succeeds.
    Refused { port: u16, why: String },
    /// The last event: the VM does not run any more.
    Ended { why: String },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forwards_are_read_as_people_write_them() {
        let read = |text: &str| {
            let PortForward { address, local, guest } = text.parse().unwrap();
            format!("{address} {local} {guest}")
        };
        assert_eq!(read("8080:80"), "127.0.0.1 8080 80");
        assert_eq!(read("80"), "127.0.0.1 80 80");
        assert_eq!(read("0:80"), "127.0.0.1 0 80");
        assert_eq!(read("0.0.0.0:8080:80"), "0.0.0.0 8080 80");
        assert_eq!(read("[::1]:8080:80"), "::1 8080 80");
    }

    #[test]
    fn what_is_no_forward_is_refused_by_name() {
        for (text, complaint) in [
            ("", "\"\" is no port"),
            ("x", "\"x\" is no port"),
            ("0", "\"0\" is no port"),
            ("8080:0", "\"0\" is no port"),
            ("8080:", "\"\" is no port"),
            (":80", "\"\" is no port"),
            ("70000:80", "\"70000\" is no port"),
            ("+1:80", "\"+1\" is no port"),
            ("localhost:1:2", "\"localhost\" is no IP address"),
            ("[x]:1:2", "\"x\" is no IP address"),
            ("::1:8080:80", "needs brackets"),
        ] {
            let error = text.parse::<PortForward>().unwrap_err().to_string();
            assert!(error.contains(complaint), "{text}: {error}");
        }
    }
}
