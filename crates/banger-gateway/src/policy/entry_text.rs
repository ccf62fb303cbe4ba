//! Reads an entry as a user writes it, and says what is wrong with it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::address::{AddressKind, has_v4_inside};
use super::entry::{Entry, Subject};
use super::error::{EntryProblem, PolicyError};
use super::name::{Name, NameProblem};
use super::sets::{Set, sets};

impl Entry {
    /// Reads one entry: `NAME[:PORT]`, `*.SUFFIX[:PORT]`, `ADDRESS[:PORT]`, `NETWORK/PREFIX[:PORT]`,
    /// `[ADDRESS]:PORT`, `host:PORT` or `@SET`.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        parse(text.trim()).map_err(|problem| PolicyError { entry: text.to_owned(), problem })
    }
}

fn parse(text: &str) -> Result<Entry, EntryProblem> {
    if text.is_empty() {
        return Err(EntryProblem::Empty);
    }
    if text.contains(char::is_whitespace) {
        return Err(EntryProblem::Spaces);
    }
    if let Some(set) = text.strip_prefix('@') {
        return parse_set(set);
    }
    refuse_urls(text)?;
    // An address without a port stands without brackets too.
    if text.starts_with('[') || text.matches(':').count() > 1 {
        return parse_v6(text);
    }
    let (subject, port) = match text.split_once(':') {
        Some((subject, port)) => (subject, Some(parse_port(port)?)),
        None => (text, None),
    };
    Ok(Entry { subject: parse_subject(subject, port)?, port })
}

fn parse_set(text: &str) -> Result<Entry, EntryProblem> {
    let (name, has_port) = text.split_once(':').map_or((text, false), |(name, _)| (name, true));
    let name = name.to_ascii_lowercase();
    let Some(set) = Set::by_name(&name) else {
        let close = |set: &&Set| strsim::damerau_levenshtein(set.name, &name);
        let suggestion = sets().iter().min_by_key(close).filter(|set| close(set) <= 2).map(|set| set.name);
        let known: Vec<_> = sets().iter().map(|set| format!("@{}", set.name)).collect();
        let known = known.join(" ");
        return Err(match suggestion {
            Some(suggestion) => EntryProblem::UnknownSetLike { suggestion, known },
            None => EntryProblem::UnknownSet { known },
        });
    };
    if has_port {
        return Err(EntryProblem::SetWithPort(format!("@{name}")));
    }
    Ok(Entry { subject: Subject::Set(set), port: None })
}

/// What was pasted from a browser, a git remote or another tool.
fn refuse_urls(text: &str) -> Result<(), EntryProblem> {
    let (is_url, rest) = text.split_once("://").map_or((false, text), |(_, rest)| (true, rest));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if is_url {
        return Err(EntryProblem::Url(host.to_owned()));
    }
    if authority.contains('@') {
        // In `git@github.com:owner/repo` the colon starts a path.
        let host = host.split(':').next().unwrap_or(host);
        return Err(EntryProblem::User(host.to_owned()));
    }
    let inner = authority.trim_start_matches('[');
    let is_network =
        inner.parse::<Ipv6Addr>().is_ok() || inner.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if rest.len() > authority.len() && !(is_network && rest[authority.len()..].starts_with('/')) {
        return Err(EntryProblem::Path(host.to_owned()));
    }
    Ok(())
}

/// `[ADDRESS]:PORT`, `[ADDRESS/PREFIX]:PORT`, `ADDRESS/PREFIX`
fn parse_v6(text: &str) -> Result<Entry, EntryProblem> {
    let (inner, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (inner, after) = rest.split_once(']').ok_or(EntryProblem::V6)?;
            match after.strip_prefix(':') {
                Some(port) => (inner, Some(parse_port(port)?)),
                None if after.is_empty() => (inner, None),
                None => return Err(EntryProblem::V6),
            }
        }
        None => (text, None),
    };
    let net = match inner.parse::<Ipv6Addr>() {
        Ok(address) => {
            refuse_loopback(address.is_loopback() || address.is_unspecified(), port)?;
            IpAddr::V6(address).into()
        }
        Err(_) if inner.contains('/') => parse_network(inner)?,
        Err(_) => return Err(EntryProblem::V6),
    };
    if net.addr().is_ipv4() {
        return Err(EntryProblem::V6);
    }
    Ok(Entry { subject: network(net)?, port })
}

fn parse_port(text: &str) -> Result<u16, EntryProblem> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(port) if digits && port > 0 => Ok(port),
        _ => Err(EntryProblem::Port),
    }
}

fn parse_subject(text: &str, port: Option<u16>) -> Result<Subject, EntryProblem> {
    if text.is_empty() {
        return Err(EntryProblem::Name(NameProblem::Empty));
    }
    if text == "*" {
        return Err(EntryProblem::Everything);
    }
    if let Some(suffix) = text.strip_prefix("*.") {
        if suffix.contains('*') {
            return Err(EntryProblem::Wildcard);
        }
        return Ok(Subject::Below(Name::from_user(suffix)?));
    }
    if text.contains('*') {
        return Err(EntryProblem::Wildcard);
    }
    if let Some(suffix) = text.strip_prefix('.').filter(|suffix| !suffix.is_empty()) {
        return Err(EntryProblem::LeadingDot(suffix.to_owned()));
    }
    if text.contains('/') {
        return network(parse_network(text)?);
    }
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        refuse_loopback(address.is_loopback() || address.is_unspecified(), port)?;
        return network(IpAddr::V4(address).into());
    }
    parse_name(text, port)
}

fn parse_name(text: &str, port: Option<u16>) -> Result<Subject, EntryProblem> {
    let name = Name::from_user(text).map_err(|problem| match problem {
        NameProblem::Number => EntryProblem::OddAddress,
        problem => EntryProblem::Name(problem),
    })?;
    refuse_loopback(name.is_localhost() || name.is_host_vm(), port)?;
    match (name.as_str(), port) {
        ("host", Some(_)) => Ok(Subject::Host),
        ("host", None) => Err(EntryProblem::HostWithoutPort),
        (word, Some(_)) => match super::text::policy_word(word) {
            Some(word) => Err(EntryProblem::PolicyWithPort(word)),
            None => Ok(Subject::Exact(name)),
        },
        (word, None) => match super::text::policy_word(word) {
            Some(word) => Err(EntryProblem::PolicyAsEntry(word)),
            None => Ok(Subject::Exact(name)),
        },
    }
}

fn refuse_loopback(is_loopback: bool, port: Option<u16>) -> Result<(), EntryProblem> {
    if !is_loopback {
        return Ok(());
    }
    let port = port.map_or_else(|| "PORT".to_owned(), |port| port.to_string());
    Err(EntryProblem::Loopback(format!("host:{port}")))
}

fn parse_network(text: &str) -> Result<IpNet, EntryProblem> {
    let net: IpNet =
        text.parse().map_err(|error: ipnet::AddrParseError| EntryProblem::Network(error.to_string()))?;
    if net.trunc() != net {
        return Err(EntryProblem::HostBits(net.trunc().to_string()));
    }
    Ok(net)
}

/// A network that has nothing in it to reach is a mistake. Bigger ones may hold such addresses: they stay
/// closed.
fn network(net: IpNet) -> Result<Subject, EntryProblem> {
    if let IpAddr::V6(address) = net.network()
        && has_v4_inside(address)
        && net.prefix_len() >= 16
    {
        return Err(EntryProblem::V4Inside);
    }
    let ends = (AddressKind::of(net.network()), AddressKind::of(net.broadcast()));
    match ends {
        (AddressKind::Never(first), AddressKind::Never(last)) if first == last => {
            Err(EntryProblem::Unreachable(first.description()))
        }
        _ => Ok(Subject::Network(net)),
    }
}
