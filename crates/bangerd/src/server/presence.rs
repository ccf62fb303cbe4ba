//! Being the daemon of a state directory, and being found (docs/decisions/0017).
//!
//! The daemon holds the directory itself and `bangerd.lock` in it, and writes into that file who it is and
//! where it listens. A thread looks twice a second whether all of that is still so: a socket that is gone
//! (logind removes runtime directories at logout) is made anew, in another directory if need be; a lock file
//! that is gone as well; and when the state directory is another one, or none, this daemon has nothing to
//! stand for any more, and ends.

mod lock;
mod place;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use banger_api::socket::SocketDirError;
use tokio::net::unix::SocketAddr;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

use lock::{Held, Lock};
use place::Place;

/// How often the daemon looks whether it can be found.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// How often the state directory must be seen to be gone before that is believed.
const LOOKS: u32 = 2;

/// Why the daemon of a state directory cannot be this one, or not be found.
#[derive(Debug, thiserror::Error)]
pub enum PresenceError {
    #[error("another bangerd{} runs already (it holds {})", with_pid(*pid), lock.display())]
    Running { pid: Option<u32>, lock: PathBuf },
    #[error("could not {action} {}", path.display())]
    File { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error("the directory of bangerd's socket cannot be used")]
    Directory(#[from] SocketDirError),
}

fn with_pid(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
}

/// The daemon's hold on its state directory; let go when the process ends, however.
#[derive(Clone)]
pub(super) struct Presence(Arc<Mutex<Inner>>);

struct Inner {
    lock: Lock,
    place: Option<Place>,
    renewed: Option<mpsc::UnboundedSender<std::os::unix::net::UnixListener>>,
}

impl Presence {
    /// Becomes the daemon of the state directory.
    ///
    /// # Errors
    ///
    /// When there is one.
    pub(super) async fn take(state: &Path) -> Result<Self, PresenceError> {
        let lock = Lock::take(state).await?;
        Ok(Self(Arc::new(Mutex::new(Inner { lock, place: None, renewed: None }))))
    }

    /// Begins to listen, and sees to it that this goes on.
    ///
    /// # Errors
    ///
    /// When there is no directory for a socket.
    pub(super) fn listen(&self) -> Result<Listener, PresenceError> {
        let (renewed, renewals) = mpsc::unbounded_channel();
        let mut inner = self.inner();
        let bound = Place::first(inner.lock.state())?;
        inner.lock.tell(bound.0.path())?;
        inner.place = Some(bound.0);
        inner.renewed = Some(renewed);
        drop(inner);
        let keeper = self.clone();
        let thread = std::thread::Builder::new().name("presence".into()).spawn(move || keeper.keep());
        thread.map_err(|source| PresenceError::File {
            action: "watch",
            path: self.inner().lock.state().into(),
            source,
        })?;
        Ok(Listener { current: tokio_listener(bound.1)?, renewals })
    }

    /// Where the daemon listens now.
    pub(super) fn socket(&self) -> Option<PathBuf> {
        self.inner().place.as_ref().map(|place| place.path().into())
    }

    /// Is to be found no longer. The state directory stays held.
    pub(super) fn leave(&self) {
        let mut inner = self.inner();
        inner.renewed = None;
        if let Some(place) = inner.place.take() {
            place.remove();
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self) {
        let mut missed = 0;
        loop {
            std::thread::sleep(LOOK_INTERVAL);
            let mut inner = self.inner();
            if inner.renewed.is_none() {
                return;
            }
            match inner.lock.look() {
                Held::Still => {
                    missed = 0;
                    inner.renew();
                }
                Held::Gone if missed + 1 < LOOKS => missed += 1,
                Held::Gone | Held::Taken => end(&inner),
            }
        }
    }
}

impl Inner {
    /// Makes the socket anew if it is gone. What cannot be done now is tried again at the next look.
    fn renew(&mut self) {
        if self.place.as_ref().is_some_and(Place::is_there) {
            return;
        }
        let (place, listener) = match Place::any(self.lock.state()) {
            Ok(bound) => bound,
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the socket is gone, and there is no place for another"
                );
                return;
            }
        };
        tracing::warn!(socket = %place.path().display(), "the socket was gone and was made anew");
        if let Err(error) = self.lock.tell(place.path()) {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "nobody can be told where the socket is"
            );
        }
        self.place = Some(place);
        if let Some(renewed) = &self.renewed {
            // With nobody there to take it the daemon is on its way out.
            let _ = renewed.send(listener);
        }
    }
}

/// Ends the process where it stands. Nothing is put away: what lies at the state directory's path now is not
/// this daemon's.
fn end(inner: &Inner) -> ! {
    let state = inner.lock.state().display();
    tracing::error!(%state, "the state directory was removed or is another one's now: this daemon ends, its VMs run on");
    if let Some(place) = &inner.place {
        place.remove();
    }
    std::process::exit(1)
}

/// Takes connections where the daemon is to be found.
pub(super) struct Listener {
    current: UnixListener,
    renewals: mpsc::UnboundedReceiver<std::os::unix::net::UnixListener>,
}

impl Listener {
    pub(super) async fn accept(&mut self) -> std::io::Result<(UnixStream, SocketAddr)> {
        loop {
            tokio::select! {
                accepted = self.current.accept() => return accepted,
                Some(renewed) = self.renewals.recv() => self.current = UnixListener::from_std(renewed)?,
            }
        }
    }

    pub(super) fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.current.local_addr()
    }
}

fn tokio_listener(listener: std::os::unix::net::UnixListener) -> Result<UnixListener, PresenceError> {
    UnixListener::from_std(listener).map_err(|source| PresenceError::File {
        action: "listen on",
        path: "the socket".into(),
        source,
    })
}
