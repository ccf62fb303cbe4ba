//! What is wrong with the text of a policy, and what to write instead.

use super::name::NameProblem;

/// A policy that cannot be understood. It names the entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("egress entry `{entry}`: {problem}")]
pub struct PolicyError {
    pub entry: String,
    // Not a source: the text above has it already.
    pub problem: EntryProblem,
}

/// Why an entry is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryProblem {
    #[error(
        "it is empty; write a policy (internet, none, all, learn) or a list such as github.com,*.debian.org"
    )]
    Empty,
    #[error("it has spaces; separate entries by commas alone")]
    Spaces,
    #[error("it is a URL, and a policy knows names and ports only; write `{0}`")]
    Url(String),
    #[error("it has a path, and a policy knows names and ports only; write `{0}`")]
    Path(String),
    #[error("it has a user's name before the `@`; write `{0}`")]
    User(String),
    #[error("`*` stands for every name; write `internet` (public addresses) or `all` (private networks too)")]
    Everything,
    #[error("`*` may only stand first, followed by a dot, as in `*.debian.org`")]
    Wildcard,
    #[error("it starts with a dot; write `*.{0}` for the names below it, and `{0}` for itself")]
    LeadingDot(String),
    #[error("a port is a number from 1 to 65535; leave it out to mean every port")]
    Port,
    #[error("there is no such set; did you mean @{suggestion}? There are {known}")]
    UnknownSetLike { suggestion: &'static str, known: String },
    #[error("there is no such set; there are {known}")]
    UnknownSet { known: String },
    #[error("a set takes no port; write `{0}`")]
    SetWithPort(String),
    #[error("`host` is the host's own loopback and needs a port, as in `host:11434`")]
    HostWithoutPort,
    #[error("it would be the VM's own loopback; for a service on the host write `{0}`")]
    Loopback(String),
    #[error("the address is {0}, which is never reached, whatever the policy; leave it out")]
    Unreachable(&'static str),
    #[error("it has an IPv4 address inside; write that one")]
    V4Inside,
    #[error("it is no network: {0}")]
    Network(String),
    #[error("the address has bits set behind its prefix; write `{0}`")]
    HostBits(String),
    #[error("it is no IPv6 address; write `[ADDRESS]:PORT`, `ADDRESS` or `NETWORK/PREFIX`")]
    V6,
    #[error("an address is written as four decimal numbers, such as 192.168.1.10")]
    OddAddress,
    #[error("{0}")]
    Name(#[from] NameProblem),
    #[error("`{0}` is a policy of its own and takes no port")]
    PolicyWithPort(&'static str),
    #[error(
        "`{0}` is a policy of its own; only names, addresses, sets and host:PORT can be allowed or denied"
    )]
    PolicyAsEntry(&'static str),
    #[error("only to deny something would be a list that allows nothing; write `internet` before it")]
    OnlyDenied,
    #[error("`none` reaches nothing and goes with no other entry; leave out one or the other")]
    NoneWithOthers,
    #[error("`{0}` stands in the same policy, and they say different things; leave one out")]
    TwoPolicies(&'static str),
}
