use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::TcpListener;

use crate::store::StoredForward;

/// Why a port of the host cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    #[error("{address} is forwarded to VM {vm:?} already")]
    OtherVm { address: SocketAddr, vm: String },
    #[error("another program listens on {address} already")]
    Taken { address: SocketAddr },
    #[error("ports below 1024 are not this user's to listen on: {address}")]
    Privileged { address: SocketAddr, source: io::Error },
    #[error("{address} is no address of this host")]
    NotOurs { address: SocketAddr, source: io::Error },
    #[error("could not listen on {address}")]
    Listen { address: SocketAddr, source: io::Error },
}

impl ForwardError {
    /// Is it that VM which has the port?
    pub(in crate::vm) fn is_held_by(&self, name: &str) -> bool {
        matches!(self, Self::OtherVm { vm, .. } if vm == name)
    }

    /// What to do about it, to reach port `guest` all the same.
    pub fn hint(&self, guest: u16) -> String {
        match self {
            Self::OtherVm { vm, .. } => {
                format!("stop that VM (banger vm stop {vm}), or use another port: LOCAL:{guest}")
            }
            Self::Taken { address } => format!(
                "see which one: ss -ltnp 'sport = :{}'; or use another port: LOCAL:{guest}, and 0 for LOCAL is one that is free",
                address.port()
            ),
            Self::Privileged { .. } => format!("use a port from 1024 on: 8080:{guest}"),
            Self::NotOurs { .. } => format!("leave the address out for this host alone: LOCAL:{guest}"),
            Self::Listen { .. } => "`banger doctor` looks at what bangerd needs".into(),
        }
    }
}

/// Which ports of the host lead to which VM.
#[derive(Clone, Default)]
pub struct HostPorts(Arc<Mutex<BTreeMap<SocketAddr, String>>>);

/// A port of the host that is listened on for a VM, as long as this is held.
pub struct Bound {
    pub(super) listener: TcpListener,
    /// With the port that was chosen.
    pub(super) address: SocketAddr,
    /// The guest's port.
    pub(super) guest: u16,
    ports: HostPorts,
}

impl Drop for Bound {
    fn drop(&mut self) {
        self.ports.lock().remove(&self.address);
    }
}

impl HostPorts {
    /// Listens for a VM. Connections wait until somebody takes them.
    ///
    /// # Errors
    ///
    /// When the port is taken, or not to be had.
    pub fn bind(&self, vm: &str, forward: StoredForward) -> Result<Bound, ForwardError> {
        let StoredForward { address, local, guest } = forward;
        let wanted = SocketAddr::new(address, local);
        let listener = listen(wanted).map_err(|source| self.explain(wanted, source))?;
        let failed = |source| ForwardError::Listen { address: wanted, source };
        let address = listener.local_addr().map_err(failed)?;
        self.lock().insert(address, vm.to_owned());
        Ok(Bound { listener, address, guest, ports: self.clone() })
    }

    /// All of them, or none.
    ///
    /// # Errors
    ///
    /// As [`Self::bind`], with the guest's port.
    pub fn bind_all(&self, vm: &str, wanted: &[StoredForward]) -> Result<Vec<Bound>, (ForwardError, u16)> {
        let bind = |forward: &StoredForward| self.bind(vm, *forward).map_err(|error| (error, forward.guest));
        wanted.iter().map(bind).collect()
    }

    fn explain(&self, address: SocketAddr, source: io::Error) -> ForwardError {
        match source.kind() {
            io::ErrorKind::AddrInUse => match self.holder(address) {
                Some(vm) => ForwardError::OtherVm { address, vm },
                None => ForwardError::Taken { address },
            },
            io::ErrorKind::PermissionDenied => ForwardError::Privileged { address, source },
            io::ErrorKind::AddrNotAvailable => ForwardError::NotOurs { address, source },
            _ => ForwardError::Listen { address, source },
        }
    }

    /// The VM that has the port, at that address or at all of them.
    fn holder(&self, wanted: SocketAddr) -> Option<String> {
        let overlaps = |address: &SocketAddr| {
            let (one, other) = (address.ip(), wanted.ip());
            address.port() == wanted.port()
                && (one == other || one.is_unspecified() || other.is_unspecified())
        };
        self.lock().iter().find(|(address, _)| overlaps(address)).map(|(_, vm)| vm.clone())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SocketAddr, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    // It sets SO_REUSEADDR: a daemon that was restarted takes over at once.
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn forward(local: u16) -> StoredForward {
        StoredForward { address: Ipv4Addr::LOCALHOST.into(), local, guest: 80 }
    }

    #[tokio::test]
    async fn whoever_has_a_port_is_named() {
        let ports = HostPorts::default();
        let bound = ports.bind("brave-otter", forward(0)).unwrap();
        let taken = forward(bound.address.port());
        let error = ports.bind("x", taken).map(drop).unwrap_err();
        assert!(matches!(&error, ForwardError::OtherVm { vm, .. } if vm == "brave-otter"), "{error:?}");
        assert!(error.hint(80).contains("banger vm stop brave-otter"));
        drop(bound);
        drop(ports.bind("x", taken).unwrap());
        let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = forward(other.local_addr().unwrap().port());
        let error = ports.bind("x", taken).map(drop).unwrap_err();
        assert!(matches!(error, ForwardError::Taken { .. }), "{error:?}");
        assert!(error.hint(80).contains("ss -ltnp"));
        let (error, guest) = ports.bind_all("x", &[forward(0), taken]).map(drop).unwrap_err();
        assert!(matches!(error, ForwardError::Taken { .. }) && guest == 80);
        assert!(ports.lock().is_empty());
    }
}
