use std::fs::{File, Metadata};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use banger_api::socket::{Address, SOCKET, SocketDirError, fits, private_runtime_dir, runtime_dirs};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::PresenceError;

/// How long another daemon may look for a place in the same directory.
const TURN_LIMIT: Duration = Duration::from_secs(1);

/// Where a daemon listens.
pub(super) struct Place {
    path: PathBuf,
    identity: Identity,
}

/// Which file it is. Inode numbers are given again at once; where the file system tells when a file was made,
/// that tells them apart.
type Identity = (u64, u64, Option<SystemTime>);

fn identity(found: &Metadata) -> Identity {
    (found.dev(), found.ino(), found.created().ok())
}

impl Place {
    /// A place for a daemon that starts.
    ///
    /// # Errors
    ///
    /// When there is none, or the user's own runtime directory is open to others: he should know.
    pub(super) fn first(state: &Path) -> Result<(Self, UnixListener), PresenceError> {
        let preferred = &runtime_dirs()[0];
        match private_runtime_dir(preferred) {
            Err(error @ (SocketDirError::Owner { .. } | SocketDirError::Mode { .. })) => Err(error.into()),
            // It cannot be had, as where `su` has kept the variable of another user.
            _ => Self::any(state),
        }
    }

    /// A place: in the best directory for it that can be had, and at last in the state directory.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub(super) fn any(state: &Path) -> Result<(Self, UnixListener), PresenceError> {
        let found = state.metadata().map_err(cannot("look at", state))?;
        // Another daemon may have the usual name: of another state directory, in the same runtime directory.
        let own = format!("bangerd-{:x}-{:x}.sock", found.dev(), found.ino());
        let dirs = runtime_dirs();
        for dir in dirs.iter().filter(|dir| private_runtime_dir(dir).is_ok()) {
            let _turn = turn(dir);
            for path in [SOCKET, &own].map(|name| dir.join(name)) {
                // Other programs than banger connect by the path as it is.
                if fits(&path)
                    && let Ok(bound) = Self::bind(path)
                {
                    return Ok(bound);
                }
            }
        }
        // Private for certain, and there.
        Self::bind(state.join(SOCKET))
    }

    /// Listens at `path`. What lies there and answers nobody was left by a dead daemon.
    fn bind(path: PathBuf) -> Result<(Self, UnixListener), PresenceError> {
        if answers(&path) {
            return Err(cannot("replace", &path)(Errno::ADDRINUSE.into()));
        }
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(cannot("replace", &path)(error));
            }
            _ => {}
        }
        let address = Address::of(&path).map_err(cannot("listen on", &path))?;
        let listener = UnixListener::bind(address.path()).map_err(cannot("listen on", &path))?;
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&path, private).map_err(cannot("protect", &path))?;
        listener.set_nonblocking(true).map_err(cannot("listen on", &path))?;
        let found = path.symlink_metadata().map_err(cannot("look at", &path))?;
        Ok((Self { path, identity: identity(&found) }, listener))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn is_there(&self) -> bool {
        match self.path.symlink_metadata() {
            Ok(found) => identity(&found) == self.identity,
            // A file system that is out of order for a while.
            Err(error) => ![
                std::io::ErrorKind::NotFound,
                std::io::ErrorKind::PermissionDenied,
                std::io::ErrorKind::NotADirectory,
            ]
            .contains(&error.kind()),
        }
    }

    /// Removes the socket, if it is this daemon's.
    pub(super) fn remove(&self) {
        if self.is_there() {
            // What stays behind is replaced by the next daemon.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn cannot(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> PresenceError {
    let path = path.to_owned();
    move |source| PresenceError::File { action, path, source }
}

/// Keeps other daemons from looking for a place in this directory at the same time: each might remove the
/// socket of the other, which is not listened on yet. A daemon that keeps the turn for ever is not waited
/// for.
fn turn(dir: &Path) -> Option<File> {
    // Without a turn the place is looked for all the same; what is wrong with the directory is told then.
    let turn = File::open(dir).ok()?;
    let deadline = Instant::now() + TURN_LIMIT;
    while flock(&turn, FlockOperation::NonBlockingLockExclusive) == Err(Errno::WOULDBLOCK)
        && Instant::now() < deadline
    {
        std::thread::sleep(Duration::from_millis(5));
    }
    Some(turn)
}

/// Does anybody listen there? Does not wait for a listener that is slow.
pub(super) fn answers(path: &Path) -> bool {
    let attempt = || {
        let address = Address::of(path).map_err(|_| Errno::NOENT)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        connect(&socket, &SocketAddrUnix::new(address.path())?)
    };
    // A queue that is full is a listener's.
    matches!(attempt(), Ok(()) | Err(Errno::AGAIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_that_somebody_listens_on_is_left_alone_and_others_are_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(SOCKET);
        let (place, listener) = Place::bind(path.clone()).unwrap();
        assert!(answers(&path) && place.is_there());
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        assert!(Place::bind(path.clone()).is_err());
        drop(listener);
        let (second, _listener) = Place::bind(path.clone()).unwrap();
        // Not this one's any more.
        assert!(!place.is_there() && second.is_there());
        place.remove();
        assert!(second.is_there());
        second.remove();
        std::fs::write(&path, "no socket").unwrap();
        assert!(Place::bind(path.clone()).is_ok());
    }

    #[test]
    fn a_listener_whose_queue_is_full_answers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(SOCKET);
        let _listener = UnixListener::bind(&path).unwrap();
        let waiting: Vec<_> = std::iter::from_fn(|| {
            let flags = SocketFlags::NONBLOCK;
            let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
            connect(&socket, &SocketAddrUnix::new(&path).unwrap()).ok().map(|()| socket)
        })
        .take(10_000)
        .collect();
        assert!(waiting.len() < 10_000 && answers(&path));
    }

    #[test]
    fn a_path_that_is_too_long_is_reached_by_its_directory() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d".repeat(200));
        std::fs::create_dir(&deep).unwrap();
        let path = deep.join(SOCKET);
        assert!(!answers(&path));
        let (place, _listener) = Place::bind(path.clone()).unwrap();
        assert!(answers(&path) && place.is_there() && path.exists());
    }
}
