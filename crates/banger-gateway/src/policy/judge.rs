//! What a policy says about a lookup, a connection, and an address that a name turned out to have.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use ipnet::IpNet;

use super::address::{AddressKind, Unreachable, canonical};
use super::entry::{Agreement, Entry, Subject};
use super::name::Name;
use super::refusal::{Refusal, RefusalCode};
use super::text::{Base, Policy};

/// By what a flow is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Tcp,
    Udp,
}

/// A connection to a name that is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByName {
    /// The rule that allowed it, for the log.
    pub rule: String,
    pub destination: Destination,
    /// What the connection's first bytes must agree with (TCP only; nothing reads UDP).
    pub agreement: Agreement,
}

/// Where a connection to a name goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The host's loopback at this port (`host:PORT`).
    HostLoopback { port: u16 },
    /// What the host's resolver says, as far as the [`Reach`] permits it.
    Addresses(Reach),
}

/// A connection to a literal address that is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByAddress {
    /// The rule that allowed it, for the log.
    pub rule: String,
    /// What the connection's first bytes must agree with (TCP only).
    pub agreement: Agreement,
}

/// What the addresses of a name may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    name: Name,
    port: u16,
    private: bool,
    /// What the policy lists as addresses for this port may be a name's address too.
    listed: Vec<IpNet>,
    denied: Vec<Entry>,
}

impl Policy {
    /// Whether the name may be looked up. `Ok` has the rule.
    pub fn lookup(&self, name: &Name) -> Result<String, Refusal> {
        if name.is_host_vm() {
            return Ok(name.to_string());
        }
        refuse_localhost(name)?;
        // A name that is denied at one port is there for the others.
        if let Some(entry) = self.deny.iter().find(|entry| entry.port.is_none() && entry.has_name(name)) {
            return Err(denied(name, entry));
        }
        if let Some(rule) = self.base_rule() {
            return Ok(rule);
        }
        match self.allow.iter().find(|entry| entry.has_name(name)) {
            Some(entry) => Ok(entry.to_string()),
            None => Err(self.not_listed(name, None)),
        }
    }

    /// Whether a connection to the name at the port is allowed, and where it goes.
    pub fn by_name(&self, name: &Name, port: u16, transport: Transport) -> Result<ByName, Refusal> {
        let about = |entry: &&Entry| entry.has_port(port) && entry.has_name(name);
        refuse_localhost(name)?;
        if let Some(entry) = self.deny.iter().find(about) {
            return Err(denied(name, entry));
        }
        if name.is_host_vm() {
            return self.by_host(port, transport);
        }
        if transport == Transport::Udp {
            self.refuse_udp_in_list()?;
        }
        let entries = || self.allow.iter().filter(|_| transport == Transport::Tcp).filter(about);
        let service = entries().find(|entry| entry.may_be_private());
        let entry = if self.base == Base::List { service.or_else(|| entries().next()) } else { service };
        let private = service.is_some() || self.base == Base::All;
        let (rule, agreement) = match (entry, self.base_rule()) {
            (Some(entry), _) => (entry.to_string(), Agreement::Same(name.clone())),
            (None, Some(rule)) => (rule, self.no_denied_name(port)),
            (None, None) => return Err(self.not_listed(name, Some(port))),
        };
        let destination = Destination::Addresses(self.reach(name, port, private));
        Ok(ByName { rule, destination, agreement })
    }

    /// Whether a connection to a literal address is allowed.
    pub fn by_address(
        &self,
        address: Ipv4Addr,
        port: u16,
        transport: Transport,
    ) -> Result<ByAddress, Refusal> {
        let kind = AddressKind::of(address.into());
        if let AddressKind::Never(why) = kind {
            return Err(unreachable(address, why));
        }
        let about = |entry: &&Entry| entry.has_port(port) && entry.has_address(address.into());
        if let Some(entry) = self.deny.iter().find(about) {
            return Err(denied(address, entry));
        }
        if transport == Transport::Udp {
            self.refuse_udp_in_list()?;
        }
        let base_allows = kind == AddressKind::Public || self.base == Base::All;
        let rule = match (self.allow.iter().find(about), self.base_rule()) {
            (Some(entry), _) => entry.to_string(),
            (None, Some(rule)) if base_allows => rule,
            (None, Some(_)) => return Err(private_literal(address, port)),
            (None, None) => return Err(self.not_listed(address, Some(port))),
        };
        Ok(ByAddress { rule, agreement: self.no_denied_name(port) })
    }

    fn by_host(&self, port: u16, transport: Transport) -> Result<ByName, Refusal> {
        // Only `host:PORT` says this: `*.vm` does not.
        let opened = |entry: &&Entry| entry.subject == Subject::Host && entry.has_port(port);
        match self.allow.iter().find(opened) {
            Some(_) if transport == Transport::Udp => {
                Err(Refusal::new(RefusalCode::HostPort, format!("host:{port} opens TCP only, not UDP")))
            }
            Some(entry) => Ok(ByName {
                rule: entry.to_string(),
                destination: Destination::HostLoopback { port },
                agreement: Agreement::Anything,
            }),
            None => Err(Refusal::new(
                RefusalCode::HostPort,
                format!(
                    "port {port} of the host's loopback is not open to the VM; \
                     add `host:{port}` to its egress policy"
                ),
            )),
        }
    }

    fn reach(&self, name: &Name, port: u16, private: bool) -> Reach {
        let at_port = |entry: &&Entry| entry.has_port(port);
        let denied = self.deny.iter().filter(at_port).filter(|entry| entry.network().is_some());
        Reach {
            name: name.clone(),
            port,
            private,
            listed: self.allow.iter().filter(at_port).filter_map(Entry::network).collect(),
            denied: denied.cloned().collect(),
        }
    }

    /// What denies names holds for the names that are seen inside a connection, too.
    fn no_denied_name(&self, port: u16) -> Agreement {
        let names = |entry: &&Entry| entry.has_port(port) && entry.is_about_names();
        let denied: Arc<[Entry]> = self.deny.iter().filter(names).cloned().collect();
        if denied.is_empty() { Agreement::Anything } else { Agreement::NoneOf(denied) }
    }

    fn base_rule(&self) -> Option<String> {
        (self.base != Base::List).then(|| self.base.word().to_owned())
    }

    fn refuse_udp_in_list(&self) -> Result<(), Refusal> {
        if self.base != Base::List {
            return Ok(());
        }
        Err(Refusal::new(
            RefusalCode::UdpInList,
            "UDP is closed under an egress list, because names cannot be compared inside it; \
             `internet` and `all` have it",
        ))
    }

    fn not_listed(&self, subject: impl ToString, port: Option<u16>) -> Refusal {
        let subject = subject.to_string();
        let other_port =
            |entry: &&Entry| match (subject.parse::<IpAddr>(), Name::from_bytes(subject.as_bytes())) {
                (Ok(address), _) => entry.has_address(address),
                (_, Ok(name)) => entry.has_name(&name),
                _ => false,
            };
        let wanted = port.map_or_else(|| subject.clone(), |port| format!("{subject}:{port}"));
        match self.allow.iter().find(other_port) {
            Some(entry) if port.is_some() => Refusal::new(
                RefusalCode::PortNotListed,
                format!("{wanted} is not in the VM's egress list, which has {entry}; allow `{wanted}`"),
            ),
            _ => Refusal::new(
                RefusalCode::NotListed,
                format!("{wanted} is not in the VM's egress list; allow `{subject}` if it should be reached"),
            ),
        }
    }
}

impl Reach {
    /// Whether the name may be at this address.
    pub fn permits(&self, address: IpAddr) -> Result<(), Refusal> {
        let kind = AddressKind::of(address);
        if let AddressKind::Never(why) = kind {
            return Err(unreachable(format!("{}, the address of {},", address, self.name), why));
        }
        let inner = canonical(address);
        let about = |entry: &&Entry| entry.has_address(address) || entry.has_address(inner);
        if let Some(entry) = self.denied.iter().find(about) {
            return Err(denied(address, entry));
        }
        let listed = self.listed.iter().any(|network| network.contains(&inner));
        if kind == AddressKind::Public || self.private || listed {
            return Ok(());
        }
        let Self { name, port, .. } = self;
        Err(Refusal::new(
            RefusalCode::PrivateAddress,
            format!(
                "{name} is at the private address {address}; add it with its port (`{name}:{port}`) \
                 to the egress policy, or use `--egress all`"
            ),
        ))
    }
}

fn refuse_localhost(name: &Name) -> Result<(), Refusal> {
    if !name.is_localhost() {
        return Ok(());
    }
    Err(Refusal::new(
        RefusalCode::Localhost,
        format!(
            "{name} is the VM itself; a service on the host is `host.vm`, \
             opened by `host:PORT` in the egress policy"
        ),
    ))
}

fn denied(subject: impl ToString, entry: &Entry) -> Refusal {
    Refusal::new(
        RefusalCode::Denied,
        format!("{} is denied by the egress policy (!{entry})", subject.to_string()),
    )
}

fn unreachable(subject: impl ToString, why: Unreachable) -> Refusal {
    let reason = format!("{} is {}, which no egress policy opens", subject.to_string(), why.description());
    Refusal::new(why.code(), reason)
}

fn private_literal(address: Ipv4Addr, port: u16) -> Refusal {
    Refusal::new(
        RefusalCode::PrivateAddress,
        format!(
            "{address} is a private address; add `{address}:{port}` to the egress policy, \
             or use `--egress all`"
        ),
    )
}
