//! Why something was not let through.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A refusal: a sentence for people, and a code that stays the same, for the log and for programs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{sentence}")]
pub struct Refusal {
    pub code: RefusalCode,
    /// What was refused and what to do, without a final full stop.
    pub sentence: String,
}

impl Refusal {
    pub fn new(code: RefusalCode, sentence: impl Into<String>) -> Self {
        Self { code, sentence: sentence.into() }
    }
}

/// The kinds of refusal. Their texts are in logs: they are never changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalCode {
    /// The list has no such name or address.
    NotListed,
    /// The list has it, for another port.
    PortNotListed,
    /// A deny entry is about it.
    Denied,
    /// UDP under a list.
    UdpInList,
    /// `host.vm` with a port that no `host:PORT` opens.
    HostPort,
    /// `localhost` as a name.
    Localhost,
    PrivateAddress,
    LoopbackAddress,
    LinkLocalAddress,
    MetadataAddress,
    MulticastAddress,
    ReservedAddress,
    UnspecifiedAddress,
    SyntheticAddress,
    /// An address of the host itself. The policy cannot know those: the dialler says so.
    HostAddress,
    /// TLS without a server name, or HTTP without a Host, where a list wants one.
    NameMissing,
    /// TLS or HTTP for another name than the one that was dialled.
    NameMismatch,
    /// TLS whose hello cannot be read in only one way.
    MalformedTls,
    /// HTTP that cannot be read in only one way.
    MalformedHttp,
    /// A hello or a request's head of more than 64 KiB, or that much sent before an answer that is waited
    /// for.
    TooLarge,
    /// HTTP/2 without TLS, which the check does not read.
    CleartextHttp2,
}

impl RefusalCode {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotListed => "not-listed",
            Self::PortNotListed => "port-not-listed",
            Self::Denied => "denied",
            Self::UdpInList => "udp-in-list",
            Self::HostPort => "host-port",
            Self::Localhost => "localhost",
            Self::PrivateAddress => "private-address",
            Self::LoopbackAddress => "loopback-address",
            Self::LinkLocalAddress => "link-local-address",
            Self::MetadataAddress => "metadata-address",
            Self::MulticastAddress => "multicast-address",
            Self::ReservedAddress => "reserved-address",
            Self::UnspecifiedAddress => "unspecified-address",
            Self::SyntheticAddress => "synthetic-address",
            Self::HostAddress => "host-address",
            Self::NameMissing => "name-missing",
            Self::NameMismatch => "name-mismatch",
            Self::MalformedTls => "malformed-tls",
            Self::MalformedHttp => "malformed-http",
            Self::TooLarge => "too-large",
            Self::CleartextHttp2 => "cleartext-http2",
        }
    }
}

impl fmt::Display for RefusalCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [RefusalCode; 21] = {
        use RefusalCode::*;
        [
            NotListed,
            PortNotListed,
            Denied,
            UdpInList,
            HostPort,
            Localhost,
            PrivateAddress,
            LoopbackAddress,
            LinkLocalAddress,
            MetadataAddress,
            MulticastAddress,
            ReservedAddress,
            UnspecifiedAddress,
            SyntheticAddress,
            HostAddress,
            NameMissing,
            NameMismatch,
            MalformedTls,
            MalformedHttp,
            TooLarge,
            CleartextHttp2,
        ]
    };

    #[test]
    fn a_code_is_logged_by_the_name_it_has() {
        for code in ALL {
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
        }
    }
}
