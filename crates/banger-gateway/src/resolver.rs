//! Names to addresses, by the host's own resolver.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use crate::policy::Name;

/// How many lookups the host's resolver has to do for this VM at once; each takes a thread.
const LOOKUPS_MAX: usize = 8;

/// How long an answer is good for. What a policy says of an address is asked at each connection.
const ANSWER_LIFE: Duration = Duration::from_secs(5);
const ANSWERS_MAX: usize = 256;

/// After so long a lookup counts as failed; the resolver gives up by itself, some time.
const LOOKUP_LIMIT: Duration = Duration::from_secs(15);

/// The host's resolver, and what it has just said.
#[derive(Debug)]
pub(crate) struct Resolver {
    answers: RefCell<HashMap<Name, (Instant, Vec<IpAddr>)>>,
    permits: Arc<Semaphore>,
}

/// What the host's resolver says of a name.
#[derive(Debug)]
pub(crate) enum Resolved {
    Addresses(Vec<IpAddr>),
    /// There is no such name, or it has no address.
    Nothing,
    /// It could not be asked.
    Failed,
    /// It is still asked for others, for too long.
    Busy,
}

impl Default for Resolver {
    fn default() -> Self {
        Self { answers: RefCell::default(), permits: Arc::new(Semaphore::new(LOOKUPS_MAX)) }
    }
}

impl Resolver {
    pub(crate) async fn resolve(&self, name: &Name) -> Resolved {
        if let Some((at, addresses)) = self.answers.borrow().get(name)
            && at.elapsed() < ANSWER_LIFE
        {
            return Resolved::Addresses(addresses.clone());
        }
        let permit = tokio::time::timeout(LOOKUP_LIMIT, self.permits.clone().acquire_owned()).await;
        // The semaphore is never closed.
        let Ok(Ok(permit)) = permit else { return Resolved::Busy };
        let lookup = async {
            let name = name.to_string();
            // As the host's users would write it: with a final dot it would not be found in /etc/hosts. The
            // gateway's environment says that there are no search domains.
            let found = tokio::task::spawn_blocking(move || {
                // Until the thread is done, whoever asked may have gone.
                let _permit = permit;
                look_up(&name)
            });
            // A lookup that panics has failed.
            found.await.ok()
        };
        let found = tokio::time::timeout(LOOKUP_LIMIT, lookup).await;
        let Ok(Some(resolved)) = found else { return Resolved::Failed };
        if let Resolved::Addresses(addresses) = &resolved {
            let mut answers = self.answers.borrow_mut();
            if answers.len() >= ANSWERS_MAX {
                answers.retain(|_, (at, _)| at.elapsed() < ANSWER_LIFE);
            }
            if answers.len() < ANSWERS_MAX {
                answers.insert(name.clone(), (Instant::now(), addresses.clone()));
            }
        }
        resolved
    }
}

fn look_up(name: &str) -> Resolved {
    /// `EAI_AGAIN`, `EAI_FAIL` and `EAI_SYSTEM` have no kind of their own in the standard library, which says
    /// only this of all of them.
    const TRY_AGAIN: &str = "Temporary failure";
    match (name, 0).to_socket_addrs() {
        Ok(addresses) => {
            let mut found: Vec<IpAddr> = addresses.map(|address| address.ip()).collect();
            found.dedup();
            if found.is_empty() { Resolved::Nothing } else { Resolved::Addresses(found) }
        }
        Err(error) if error.to_string().contains(TRY_AGAIN) => Resolved::Failed,
        Err(_) => Resolved::Nothing,
    }
}

/// Is it an address of this host? The kernel says so by the address that it would speak from; nothing is
/// sent.
///
/// # Errors
///
/// When there is no way there at all.
pub(crate) fn is_own(address: IpAddr) -> io::Result<bool> {
    let any: SocketAddr = match address {
        IpAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        IpAddr::V6(_) => ([0_u16; 8], 0).into(),
    };
    let socket = UdpSocket::bind(any)?;
    socket.connect((address, 9))?;
    let from = socket.local_addr()?.ip();
    Ok(from == address || from.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_of_the_hosts_file_are_found_and_others_are_not() {
        let resolver = Resolver::default();
        let found = resolver.resolve(&Name::from_user("localhost").unwrap()).await;
        assert!(matches!(found, Resolved::Addresses(found) if found.iter().all(IpAddr::is_loopback)));
        let missing = resolver.resolve(&Name::from_user("no-such-name.invalid").unwrap()).await;
        assert!(matches!(missing, Resolved::Nothing | Resolved::Failed), "{missing:?}");
    }

    #[test]
    fn loopback_is_the_hosts_own() {
        assert!(is_own([127, 0, 0, 1].into()).unwrap());
        assert!(is_own([127, 9, 8, 7].into()).unwrap());
    }
}
