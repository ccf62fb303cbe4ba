//! What a VM may reach, and what it has reached.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A VM's egress policy, and what became of what it tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Egress {
    /// The entries of the policy in force.
    pub policy: Vec<String>,
    /// Attempts of one kind are one row; the most recent one is last.
    pub rows: Vec<EgressRow>,
}

/// By what something was contacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    Tcp,
    Udp,
    Icmp,
    /// A name was looked up.
    Dns,
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
            Self::Dns => "dns",
        })
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Allowed,
    /// The policy is against it.
    Refused,
    /// The policy is not, but it did not come about.
    Failed,
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Allowed => "allowed",
            Self::Refused => "refused",
            Self::Failed => "failed",
        })
    }
}

/// Attempts of one kind: to one name (or address) and port, with one outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EgressRow {
    pub protocol: Protocol,
    /// The name that the guest looked up.
    pub name: Option<String>,
    /// The address that was dialled last.
    pub address: Option<String>,
    pub port: Option<u16>,
    pub verdict: Verdict,
    /// The entry of the policy that allowed it.
    pub rule: Option<String>,
    /// Why it was refused or failed: a word for programs.
    pub reason: Option<String>,
    /// The same for people.
    pub detail: Option<String>,
    pub attempts: u64,
    /// How many of them last.
    pub open: u64,
    /// Bytes from the guest.
    pub sent_bytes: u64,
    /// Bytes to the guest.
    pub received_bytes: u64,
    /// When the last one began: UTC, as RFC 3339 has it.
    pub last: String,
}

/// Changes a VM's policy: locks it first, then allows, then denies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeEgress {
    #[serde(default)]
    pub allow: Vec<String>,
    #[serde(default)]
    pub deny: Vec<String>,
    /// Makes a list of what was contacted so far.
    #[serde(default)]
    pub lock: bool,
}

/// How a change went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EgressChanged {
    /// The entries of the policy in force now.
    pub policy: Vec<String>,
    /// What to know about it, a sentence each.
    pub remarks: Vec<String>,
    /// How many connections were cut that are not allowed any more.
    pub cut: u64,
}

/// A named set of entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EgressSet {
    /// With its `@`.
    pub name: String,
    pub about: String,
    pub entries: Vec<String>,
}
