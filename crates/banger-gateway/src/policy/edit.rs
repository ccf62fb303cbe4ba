//! Changes of a policy while its VM runs: `vm egress --allow`, `--deny` and `--lock`.
//!
//! What an edit means depends on the base:
//!
//! | base | allow X | deny X |
//! |---|---|---|
//! | `none` | a list of X | `none`, and X stays denied when more is allowed later |
//! | a list | X is added | X is taken out, and denied: a wildcard or a set may have it too |
//! | `internet`, `learn`, `all` | X is added: opens `host:PORT` and private services | X is denied |
//!
//! Allowing takes back a denial of the same text, and the other way round. Nothing narrower or wider is
//! touched: where that leaves an edit without effect, a remark says so.

use std::net::Ipv4Addr;

use super::entry::{Agreement, Entry, Subject};
use super::judge::{ByName, Destination, Transport};
use super::name::Name;
use super::text::{Base, Policy, push_new};

/// Something that a VM contacted over TCP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contact {
    Name { name: Name, port: u16 },
    Address { address: Ipv4Addr, port: u16 },
}

/// A policy after an edit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edited {
    pub policy: Policy,
    /// What the user should know, a sentence each.
    pub remarks: Vec<String>,
}

impl Policy {
    /// The policy with these entries allowed.
    pub fn with_allowed(&self, entries: &[Entry]) -> Edited {
        let mut policy = self.clone();
        for entry in entries {
            policy.deny.retain(|denied| denied != entry);
            push_new(&mut policy.allow, entry.clone());
        }
        let still_denied = |entry: &Entry| {
            let by = policy.deny.iter().find(|denied| denied.covers(entry))?;
            Some(format!(
                "{entry} stays closed: the policy denies {by}, which must be allowed as it is written"
            ))
        };
        let remarks = entries.iter().filter_map(still_denied).collect();
        Edited { policy, remarks }
    }

    /// The policy with these entries denied.
    pub fn with_denied(&self, entries: &[Entry]) -> Edited {
        let mut policy = self.clone();
        for entry in entries {
            policy.allow.retain(|allowed| allowed != entry);
            push_new(&mut policy.deny, entry.clone());
        }
        let mut remarks = Vec::new();
        if policy.is_none() && !self.is_none() {
            remarks.push("nothing is allowed any more".to_owned());
        }
        Edited { policy, remarks }
    }

    /// A list of what was contacted. It allows nothing that this policy does not allow: what is refused today
    /// is left out. Denials stay.
    ///
    /// A name that `internet` or `learn` allowed is listed without its port: with one, a list would let it be
    /// at a private address, which it could not be before.
    pub fn lock(&self, contacts: &[Contact]) -> Self {
        let mut locked = Self { base: Base::List, allow: Vec::new(), deny: self.deny.clone() };
        for contact in contacts {
            let entry = match contact {
                Contact::Name { name, port } => self.entry_of_name(name, *port),
                Contact::Address { address, port } => {
                    self.by_address(*address, *port, Transport::Tcp).is_ok().then(|| Entry {
                        subject: Subject::Network(std::net::IpAddr::V4(*address).into()),
                        port: Some(*port),
                    })
                }
            };
            if let Some(entry) = entry {
                push_new(&mut locked.allow, entry);
            }
        }
        locked
    }

    /// The narrowest entry that allows the name at the port, and no more than this policy does.
    fn entry_of_name(&self, name: &Name, port: u16) -> Option<Entry> {
        let ByName { destination, agreement, .. } = self.by_name(name, port, Transport::Tcp).ok()?;
        let exact = |port| Some(Entry { subject: Subject::Exact(name.clone()), port });
        if let Destination::HostLoopback { port } = destination {
            return Some(Entry { subject: Subject::Host, port: Some(port) });
        }
        if !matches!(agreement, Agreement::Same(_)) {
            return exact((self.base == Base::All).then_some(port));
        }
        let mut entries = self.allow.iter().filter(|entry| entry.has_port(port) && entry.has_name(name));
        if entries.clone().any(Entry::may_be_private) {
            return exact(Some(port));
        }
        // A wildcard with a port stays as it is: without the port it would allow more, as a name with it too.
        match entries.clone().find(|entry| entry.port.is_none()) {
            Some(_) => exact(None),
            None => entries.next().cloned(),
        }
    }
}

impl Entry {
    /// Whether everything that the other entry is about is something this one is about.
    fn covers(&self, other: &Self) -> bool {
        let ports = self.port.is_none() || self.port == other.port;
        ports
            && match (&self.subject, &other.subject) {
                (_, Subject::Exact(name)) => self.has_name(name),
                (Subject::Below(wide), Subject::Below(narrow)) => {
                    wide == narrow || narrow.is_below(wide.as_str())
                }
                (Subject::Network(wide), Subject::Network(narrow)) => wide.contains(narrow),
                (mine, other) => mine == other,
            }
    }
}
