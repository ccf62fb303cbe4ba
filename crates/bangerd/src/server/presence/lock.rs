use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use banger_api::record::{DaemonRecord, LOCK};
use banger_host::process::{ProcessHandle, ProcessIdentity};
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

use super::PresenceError;
use super::place::answers;

/// How long a daemon that is about to end may hold the state directory after it has left its socket.
const DEPARTURE_LIMIT: Duration = Duration::from_secs(6);
const POLL: Duration = Duration::from_millis(20);

/// The hold on a state directory.
pub(super) struct Lock {
    state: PathBuf,
    /// The directory itself: a lock file that somebody removes is no lock. None where directories cannot be
    /// locked (NFS).
    directory: Option<File>,
    /// What is at `state` if it is still the directory that was taken.
    identity: (u64, u64),
    file: File,
    record: DaemonRecord,
}

/// Is the state directory held by this daemon still?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    Still,
    /// There is no such directory, or another one in its place.
    Gone,
    /// Another daemon has it.
    Taken,
}

impl Lock {
    /// Takes hold of the state directory, as a daemon that starts. One that is about to end is waited for.
    ///
    /// # Errors
    ///
    /// When another daemon has it.
    pub(super) async fn take(state: &Path) -> Result<Self, PresenceError> {
        let deadline = Instant::now() + DEPARTURE_LIMIT;
        loop {
            if let Some(lock) = Self::attempt(state)? {
                lock.write()?;
                return Ok(lock);
            }
            let holder = DaemonRecord::read(state);
            if holder.as_ref().is_some_and(is_staying) || Instant::now() > deadline {
                let pid = holder.map(|holder| holder.pid);
                return Err(PresenceError::Running { pid, lock: state.join(LOCK) });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// None when another one holds it, be it only to look.
    fn attempt(state: &Path) -> Result<Option<Self>, PresenceError> {
        let failed = |action, path: &Path| {
            let path = path.to_owned();
            move |source| PresenceError::File { action, path, source }
        };
        let directory = File::open(state).map_err(failed("open", state))?;
        let identity = identity_of(&directory.metadata().map_err(failed("look at", state))?);
        let directory = match flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Some(directory),
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(_) => None,
        };
        let Some(file) = lock_file(state)? else { return Ok(None) };
        let own =
            ProcessIdentity::of_this_process().map_err(failed("find this process in", Path::new("/proc")))?;
        let (pid, start_time_ticks) = (std::process::id(), own.start_time_ticks);
        let record = DaemonRecord { pid, start_time_ticks, socket: None };
        Ok(Some(Self { state: state.into(), directory, identity, file, record }))
    }

    pub(super) fn state(&self) -> &Path {
        &self.state
    }

    /// Writes down where this daemon listens.
    ///
    /// # Errors
    ///
    /// When the disk is full or broken.
    pub(super) fn tell(&mut self, socket: &Path) -> Result<(), PresenceError> {
        self.record.socket = Some(socket.as_os_str().to_owned().into());
        self.write()
    }

    fn write(&self) -> Result<(), PresenceError> {
        let failed = |source| PresenceError::File { action: "write", path: self.state.join(LOCK), source };
        self.record.write(&self.file).map_err(failed)
    }

    /// Looks whether this is still so; a lock file that is gone is made anew.
    pub(super) fn look(&mut self) -> Held {
        match self.state.metadata() {
            Ok(found) if identity_of(&found) == self.identity => {}
            // What cannot be looked at is not gone.
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Held::Still,
            _ => return Held::Gone,
        }
        let same = |found: std::fs::Metadata| {
            self.file.metadata().is_ok_and(|own| identity_of(&own) == identity_of(&found))
        };
        if self.state.join(LOCK).symlink_metadata().is_ok_and(same) {
            self.keep_readable();
            return Held::Still;
        }
        match lock_file(&self.state) {
            Ok(Some(file)) => {
                self.file = file;
                tracing::warn!("{LOCK} was gone and was made anew");
                self.write_or_tell();
                Held::Still
            }
            // Somebody may just be looking; who has no lock on the directory may have been overtaken.
            Ok(None) if self.directory.is_some() => Held::Still,
            Ok(None) => Held::Taken,
            Err(error) => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "{LOCK} is gone and cannot be made anew"
                );
                Held::Still
            }
        }
    }

    /// Sees to it that what is written there can be read, whoever changed its mode or emptied it.
    fn keep_readable(&self) {
        if DaemonRecord::read(&self.state).as_ref() == Some(&self.record) {
            return;
        }
        let mode = self.file.set_permissions(std::fs::Permissions::from_mode(0o600));
        tracing::warn!(
            mode_error = mode.err().map(tracing::field::display),
            "{LOCK} was not as it should be"
        );
        self.write_or_tell();
    }

    fn write_or_tell(&self) {
        if let Err(error) = self.write() {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "nobody can be told who holds the state directory"
            );
        }
    }
}

/// Will the daemon that holds the state directory stay? It listens, or it starts.
fn is_staying(holder: &DaemonRecord) -> bool {
    match holder.socket() {
        Some(socket) => answers(&socket),
        None => {
            let pid = i32::try_from(holder.pid).unwrap_or(0);
            let identity = ProcessIdentity { pid, start_time_ticks: holder.start_time_ticks };
            ProcessHandle::open(identity)
                .is_ok_and(|process| process.is_some_and(|process| process.is_alive()))
        }
    }
}

/// The lock file with its lock; none when somebody else has that.
fn lock_file(state: &Path) -> Result<Option<File>, PresenceError> {
    let path = state.join(LOCK);
    let failed = |action| {
        let path = path.clone();
        move |source| PresenceError::File { action, path, source }
    };
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(flags);
    let file = options.open(&path).map_err(failed("open"))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Ok(None),
        Err(error) => return Err(failed("lock")(error.into())),
    }
    // It may have been removed between the two calls.
    let own = file.metadata().map_err(failed("look at"))?;
    let same = path.symlink_metadata().is_ok_and(|found| identity_of(&found) == identity_of(&own));
    Ok(same.then_some(file))
}

fn identity_of(found: &std::fs::Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn there_is_one_holder_and_the_next_one_is_told_which() {
        let dir = tempfile::tempdir().unwrap();
        let mut lock = Lock::take(dir.path()).await.unwrap();
        // It starts, and lives.
        let begun = Instant::now();
        match Lock::take(dir.path()).await {
            Err(PresenceError::Running { pid, .. }) => assert_eq!(pid, Some(std::process::id())),
            other => panic!("{:?}", other.map(|lock| lock.identity)),
        }
        assert!(begun.elapsed() < DEPARTURE_LIMIT / 2, "{:?}", begun.elapsed());
        assert_eq!(lock.look(), Held::Still);
        drop(lock);
        lock = Lock::take(dir.path()).await.unwrap();
        assert_eq!(lock.look(), Held::Still);
    }

    #[tokio::test]
    async fn a_lock_file_that_is_removed_lets_nobody_in_and_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut lock = Lock::take(dir.path()).await.unwrap();
        lock.tell(Path::new("/run/x.sock")).unwrap();
        std::fs::remove_file(dir.path().join(LOCK)).unwrap();
        assert!(Lock::attempt(dir.path()).unwrap().is_none());
        std::fs::remove_file(dir.path().join(LOCK)).ok();
        assert_eq!(lock.look(), Held::Still);
        assert_eq!(DaemonRecord::read(dir.path()).unwrap().socket(), Some("/run/x.sock".into()));
        assert_eq!(dir.path().join(LOCK).metadata().unwrap().mode() & 0o777, 0o600);
    }

    #[tokio::test]
    async fn a_record_that_is_emptied_or_closed_to_readers_is_written_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(LOCK);
        let mut lock = Lock::take(dir.path()).await.unwrap();
        let written = DaemonRecord::read(dir.path());
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o0)).unwrap();
        assert_eq!(lock.look(), Held::Still);
        assert_eq!(DaemonRecord::read(dir.path()), written);
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
    }

    #[tokio::test]
    async fn another_directory_in_its_place_is_not_this_daemons() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        std::fs::create_dir(&state).unwrap();
        let mut lock = Lock::take(&state).await.unwrap();
        std::fs::rename(&state, dir.path().join("aside")).unwrap();
        assert_eq!(lock.look(), Held::Gone);
        std::fs::create_dir(&state).unwrap();
        assert_eq!(lock.look(), Held::Gone);
        assert!(!state.join(LOCK).exists());
        // The way there does not matter.
        std::fs::remove_dir(&state).unwrap();
        std::os::unix::fs::symlink(dir.path().join("aside"), &state).unwrap();
        assert_eq!(lock.look(), Held::Still);
    }
}
