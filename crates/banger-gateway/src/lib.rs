//! The host's end of a VM's network: what the guest may reach, by name, and the log of what it did.
//!
//! The guest's traffic arrives as flows ([`banger_guest_protocol::flow`]), never as packets: "TCP to this
//! address and port". Each VM has a process of its own for it, `banger-gateway`, beside its VMM, which lives
//! without the daemon and can do nothing but this ([`banger_host::sandbox::gateway`]).
//!
//! On the way of a connection: `gateway` hands out the frames, `flow` answers for one connection, `dial`
//! finds out who is meant ([`policy`] may be against it) and connects, `relay` moves the bytes and has
//! [`check`] read along. `dns` gives each name an address that stands for it (`names`), `datagrams` is UDP,
//! `echo` is `ping`. `log` and `control` are what the daemon sees of it; [`config`] is what it says.
//!
//! Memory is bounded whatever a guest does: connections by their number and by `credit`, everything else by
//! numbers of its own.

mod channel;
pub mod check;
pub mod config;
pub mod control;
mod credit;
mod datagrams;
mod dial;
mod dns;
mod dns_stream;
#[cfg(test)]
mod dns_tests;
mod echo;
mod flow;
mod gateway;
pub mod log;
mod names;
mod outbox;
pub mod policy;
mod proxy;
mod relay;
mod resolver;

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};

pub use channel::ChannelError;
pub use gateway::SetupError;

use channel::Incoming;
use gateway::Gateway;

/// The directory of a VM's network, in the VM's own.
pub const NETWORK_DIR: &str = "network";

/// Why a gateway ended.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    #[error(transparent)]
    Setup(#[from] SetupError),
    #[error(transparent)]
    Channel(#[from] ChannelError),
    #[error("could not {0}")]
    System(&'static str, #[source] io::Error),
}

/// Serves the VM at the other end of `port` until it is gone, or until it is asked to end. `dir` is the
/// directory of the VM's network; `control` listens for the daemon.
///
/// # Errors
///
/// Why it ended otherwise.
pub async fn serve(port: OwnedFd, dir: OwnedFd, control: OwnedFd) -> Result<(), GatewayError> {
    let gateway = Rc::new(Gateway::open(dir)?);
    let mut terminated =
        signal(SignalKind::terminate()).map_err(|source| GatewayError::System("wait for signals", source))?;
    let control = std::os::unix::net::UnixListener::from(control);
    let control = control.set_nonblocking(true).and_then(|()| UnixListener::from_std(control));
    let control = control.map_err(|source| GatewayError::System("listen for the daemon", source))?;
    let port = std::os::unix::net::UnixStream::from(port);
    let port = port.set_nonblocking(true).and_then(|()| UnixStream::from_std(port));
    let port = port.map_err(|source| GatewayError::System("wait for the guest", source))?;
    let speak = async {
        let (stream, hello) = channel::shake_hands(port).await?;
        tracing::info!(agent = hello.agent_build, "the guest answers");
        let (read, write) = stream.into_split();
        Err::<std::convert::Infallible, _>(tokio::select! {
            error = gateway.serve(Incoming::new(read)) => error,
            _broken = gateway.outbox.drain(write) => ChannelError::Closed,
        })
    };
    let outcome = tokio::select! {
        Err(error) = speak => Err(error.into()),
        () = answer_daemon(&gateway, control) => Ok(()),
        _ = terminated.recv() => Ok(()),
    };
    gateway.finish();
    outcome
}

async fn answer_daemon(gateway: &Rc<Gateway>, control: UnixListener) {
    loop {
        match control.accept().await {
            Ok((stream, _)) => {
                let gateway = gateway.clone();
                tokio::task::spawn_local(async move {
                    if let Err(error) = control::answer(stream, |request| gateway.answer(request)).await {
                        tracing::debug!(%error, "a question was not answered");
                    }
                });
            }
            // No descriptors left, for one.
            Err(_) => tokio::time::sleep(std::time::Duration::from_millis(100)).await,
        }
    }
}
