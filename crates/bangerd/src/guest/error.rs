use std::time::Duration;

use banger_guest_protocol::PROTOCOL_VERSION;
use banger_guest_protocol::messages::{self, GuestErrorKind};
use banger_guest_protocol::preamble::AnswerError;

/// Why the guest's agent did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    #[error("could not connect to the guest's agent channel")]
    Connect(#[source] std::io::Error),
    #[error("the guest's agent did not say hello within {} s", limit.as_secs())]
    NoHello { limit: Duration },
    #[error("the guest's agent channel closed before the agent said hello")]
    Closed,
    #[error("the guest's agent said something unintelligible")]
    Answer(#[from] AnswerError),
    #[error("the guest's agent channel answered with something unintelligible")]
    Unintelligible,
    #[error(
        "the guest's agent {agent_build} speaks protocol {agent}, this bangerd speaks {PROTOCOL_VERSION}"
    )]
    Version { agent: u32, agent_build: String },
    #[error("the session with the guest's agent broke")]
    Broken,
    #[error("the guest's agent sent a frame that is none of its own")]
    Protocol,
    #[error("the guest's agent did not answer {request}")]
    Http { request: &'static str, source: hyper::Error },
    #[error("the guest's agent did not answer {request} within {} s", limit.as_secs())]
    Timeout { request: &'static str, limit: Duration },
    #[error("the guest's agent answered {request} with something unintelligible")]
    Body { request: &'static str, source: serde_json::Error },
    /// The agent's own words; `causes` is its chain.
    #[error("in the guest: {message}")]
    Refused { message: String, causes: Vec<String>, kind: GuestErrorKind },
    #[error("could not put {request} into words")]
    Encode { request: &'static str, source: serde_json::Error },
    #[error("could not put {request} into words")]
    Message { request: &'static str, source: http::Error },
    #[error("the guest's agent did not move a byte of {request} for {} s", limit.as_secs())]
    Stalled { request: &'static str, limit: Duration },
}

impl GuestError {
    /// The connection went away.
    pub fn is_lost_connection(&self) -> bool {
        matches!(self, Self::Connect(_) | Self::Closed | Self::Broken | Self::Http { .. })
    }

    /// A refusal without more words than these.
    pub(super) fn refused(message: String) -> Self {
        Self::Refused { message, causes: Vec::new(), kind: GuestErrorKind::Failed }
    }
}

impl From<messages::GuestError> for GuestError {
    fn from(messages::GuestError { message, causes, kind }: messages::GuestError) -> Self {
        Self::Refused { message, causes, kind }
    }
}
