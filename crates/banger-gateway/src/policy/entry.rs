//! One entry of a policy, and what it is about.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::name::Name;
use super::refusal::{Refusal, RefusalCode};
use super::sets::Set;

/// One entry: names or addresses, and a port or all of them. [`Entry::parse`] reads what `Display` writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub(super) subject: Subject,
    /// None stands for every port.
    pub(super) port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Exact(Name),
    /// `*.SUFFIX`
    Below(Name),
    /// An address is a network of one.
    Network(IpNet),
    /// `host`: the loopback of the host, always with a port.
    Host,
    Set(&'static Set),
}

impl Entry {
    /// Whether the entry is about the name, at some port.
    pub fn has_name(&self, name: &Name) -> bool {
        match &self.subject {
            Subject::Exact(exact) => exact == name,
            Subject::Below(suffix) => name.is_below(suffix.as_str()),
            Subject::Set(set) => set.contains(name),
            Subject::Host => name.is_host_vm(),
            Subject::Network(_) => false,
        }
    }

    pub(super) fn has_port(&self, port: u16) -> bool {
        self.port.is_none_or(|only| only == port)
    }

    pub(super) fn has_address(&self, address: IpAddr) -> bool {
        self.network().is_some_and(|network| network.contains(&address))
    }

    pub(super) fn network(&self) -> Option<IpNet> {
        match self.subject {
            Subject::Network(network) => Some(network),
            _ => None,
        }
    }

    /// An exact name with its port may be at a private address: whoever wrote it means one service.
    pub(super) fn may_be_private(&self) -> bool {
        matches!(self.subject, Subject::Exact(_)) && self.port.is_some()
    }

    pub(super) fn is_about_names(&self) -> bool {
        matches!(self.subject, Subject::Exact(_) | Subject::Below(_) | Subject::Set(_))
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.subject, self.port) {
            (Subject::Exact(name), _) => write!(formatter, "{name}")?,
            (Subject::Below(suffix), _) => write!(formatter, "*.{suffix}")?,
            (Subject::Network(network @ IpNet::V6(_)), Some(_)) => {
                write!(formatter, "[{}]", AsAddress(*network))?;
            }
            (Subject::Network(network), _) => write!(formatter, "{}", AsAddress(*network))?,
            (Subject::Host, _) => formatter.write_str("host")?,
            (Subject::Set(set), _) => write!(formatter, "@{}", set.name)?,
        }
        self.port.map_or(Ok(()), |port| write!(formatter, ":{port}"))
    }
}

/// A network of one is written as its address.
struct AsAddress(IpNet);

impl fmt::Display for AsAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.prefix_len() == self.0.max_prefix_len() {
            write!(formatter, "{}", self.0.addr())
        } else {
            write!(formatter, "{}", self.0)
        }
    }
}

/// What the names that show up inside a connection (TLS server name, HTTP Host) must agree with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Agreement {
    /// Nothing is compared.
    Anything,
    /// It must be there, and be the name that was dialled.
    Same(Name),
    /// It may be any name, or missing, but none that is denied.
    NoneOf(Arc<[Entry]>),
}

impl Agreement {
    pub fn is_needed(&self) -> bool {
        *self != Self::Anything
    }

    /// Whether it may be this name, seen at this place (such as `the TLS server name`). None: no name is
    /// there.
    pub fn permits(&self, seen: Option<&Name>, place: &str) -> Result<(), Refusal> {
        match (self, seen) {
            (Self::Same(dialled), Some(seen)) if seen != dialled => Err(Refusal::new(
                RefusalCode::NameMismatch,
                format!(
                    "{place} is {seen}, but the connection is to {dialled}; a list allows exact names only"
                ),
            )),
            (Self::Same(dialled), None) => Err(Refusal::new(
                RefusalCode::NameMissing,
                format!("{place} is missing or no name, so nobody can tell that it is {dialled}"),
            )),
            (Self::NoneOf(denied), Some(seen)) => match denied.iter().find(|entry| entry.has_name(seen)) {
                Some(entry) => Err(Refusal::new(
                    RefusalCode::Denied,
                    format!("{place} is {seen}, and the egress policy denies {entry}"),
                )),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }
}
