use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use banger_guest_protocol::PROTOCOL_VERSION;
use banger_guest_protocol::preamble::Hello;
use tokio::net::UnixStream;
use tokio_util::compat::Compat;
use tokio_util::either::Either;

use super::GuestError;
use super::serial::SerialSession;
use super::vsock::{self, VsockPort};
use crate::channel::AgentChannel;
use crate::paths::VmDir;

/// What may be in the pipe when a session begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pipe {
    /// Nothing: the VM was just started.
    Fresh,
    /// The rest of a session that broke off.
    LeftOvers,
}

/// A stream to an agent, whatever carries it.
pub(super) type AgentStream = Either<Compat<yamux::Stream>, UnixStream>;

/// An agent that has said hello, in this protocol.
pub(super) enum Session {
    Serial(SerialSession),
    /// Nothing is kept: each stream is a connection of its own.
    Vsock(VsockPort),
}

impl Session {
    /// Waits for the hello of the agent behind `channel`, however long that takes.
    ///
    /// # Errors
    ///
    /// When it cannot be reached, or is of another protocol.
    pub(super) async fn connect(
        dir: &VmDir,
        channel: AgentChannel,
        pipe: Pipe,
        stands_still: Arc<AtomicBool>,
    ) -> Result<(Self, Hello), GuestError> {
        let (session, hello) = match channel {
            AgentChannel::Serial { socket } => {
                let connected = SerialSession::connect(dir.path(), socket, pipe, stands_still).await;
                connected.map(|(session, hello)| (Self::Serial(session), hello))?
            }
            AgentChannel::Vsock { socket, port } => {
                let port = VsockPort { dir: dir.clone(), socket, port };
                let hello = vsock::hello(&port).await?;
                (Self::Vsock(port), hello)
            }
        };
        if hello.protocol != PROTOCOL_VERSION {
            return Err(GuestError::Version { agent: hello.protocol, agent_build: hello.agent_build });
        }
        Ok((session, hello))
    }

    pub(super) fn is_alive(&self) -> bool {
        match self {
            Self::Serial(session) => session.is_alive(),
            Self::Vsock(_) => true,
        }
    }

    pub(super) async fn open_stream(&self) -> Result<AgentStream, GuestError> {
        match self {
            Self::Serial(session) => session.open_stream().await.map(Either::Left),
            Self::Vsock(port) => port.open_stream().await.map(Either::Right),
        }
    }
}
