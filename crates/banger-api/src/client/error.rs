use std::path::PathBuf;

use crate::ApiError;

/// Why a request got no proper answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("there is no home directory: neither $HOME nor the user database names one")]
    NoHome,
    /// No daemon holds the state directory.
    #[error("bangerd is not running")]
    NotRunning,
    #[error("could not connect to bangerd at {}", socket.display())]
    Connect { socket: PathBuf, source: std::io::Error },
    #[error("user {uid} listens at {}, where bangerd should", socket.display())]
    Foreign { socket: PathBuf, uid: u32 },
    /// It is there and holds the state directory, but says nothing: stopped, starved, or hung.
    #[error("bangerd{} does not answer", pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default())]
    Silent { pid: Option<u32> },
    /// The daemon's own answer.
    #[error(transparent)]
    Api(ApiError),
    #[error("the connection to bangerd broke")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("bangerd's answer to {request} could not be understood")]
    Answer { request: String, source: serde_json::Error },
    #[error("bangerd ended its answer to {request} too early")]
    Truncated { request: String },
}

impl ClientError {
    pub(super) fn broken(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Broken(error.into())
    }
}
