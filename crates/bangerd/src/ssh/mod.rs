//! SSH to VMs: the keys, the pinned host keys, and what the user's SSH client is told of them
//! (docs/decisions/0031).
//!
//! ```text
//! $XDG_STATE_HOME/banger/ssh/       0700
//!     id_ed25519[.pub]              banger's own key; every VM lets it in
//!     known_hosts                   the host key of every VM that has been started
//!     config                        for ssh: `Host *.vm`
//! vms/<id>/ssh_host_ed25519_key     that VM's host key
//! ```
//!
//! Whatever is missing is made anew, so nothing here can be lost for good. The user's own `~/.ssh` is only
//! touched by [`user_config`], when asked.

mod client_config;
pub mod config_include;
mod error;
mod keys;
mod known_hosts;
pub mod user_config;

use std::ffi::OsString;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use banger_host::files::{FileError, private_dir, write_atomic};
use rustix::fs::{FlockOperation, Mode, OFlags, flock};
use rustix::io::Errno;

use crate::identity::{VmId, VmName};
use crate::paths::{Paths, VmDir};
use client_config::ClientConfig;
pub use error::SshError;
pub use keys::KeyPair;

const USER_KEY: &str = "id_ed25519";
const USER_KEY_PUBLIC: &str = "id_ed25519.pub";
const KNOWN_HOSTS: &str = "known_hosts";
const CONFIG: &str = "config";

/// More than any key of ours has.
const KEY_MAX_BYTES: u64 = 4096;

/// What lies in banger's own directory of SSH. Clones share it.
#[derive(Clone, Debug)]
pub struct Ssh {
    dir: PathBuf,
    /// One change at a time.
    turn: Arc<Mutex<()>>,
}

/// What a guest needs to let banger in, and to be known by.
#[derive(Debug)]
pub struct GuestKeys {
    pub host: KeyPair,
    /// The line of banger's own public key.
    pub authorized: String,
}

/// While it is held, files change only by its holder's hand.
struct Turn<'a> {
    _within: MutexGuard<'a, ()>,
    /// Locked for as long as it is open.
    _dir: File,
}

impl Ssh {
    pub fn new(paths: &Paths) -> Self {
        Self { dir: paths.ssh(), turn: Arc::default() }
    }

    /// The file that the user's SSH client is to include.
    pub fn config_file(&self) -> PathBuf {
        self.dir.join(CONFIG)
    }

    /// Makes the directory, banger's own key and the client's configuration, as far as they are missing or
    /// of another build. Answers the configuration.
    ///
    /// # Errors
    ///
    /// When they cannot be written, or SSH's configuration cannot express a path in them.
    pub fn prepare(&self, banger: &Path, environment: &[(&str, OsString)]) -> Result<Vec<u8>, SshError> {
        let _turn = self.turn()?;
        self.user_key()?;
        let known_hosts = self.dir.join(KNOWN_HOSTS);
        if known_hosts.symlink_metadata().is_err() {
            write_atomic(&known_hosts, b"", 0o600)?;
        }
        let text = ClientConfig { banger, environment, dir: &self.dir }.text()?;
        write_changed(&self.config_file(), &text)?;
        Ok(text)
    }

    /// The keys of a VM that is about to be started, made the first time, and its host key pinned under its
    /// name of now.
    ///
    /// # Errors
    ///
    /// When they can be neither read nor made.
    pub fn guest_keys(&self, id: &VmId, name: &VmName, dir: &VmDir) -> Result<GuestKeys, SshError> {
        let _turn = self.turn()?;
        let host = key_at(&dir.file(VmDir::SSH_HOST_KEY), name.as_str())?;
        let authorized = self.user_key()?.public_line("banger");
        self.change_known_hosts(|text| known_hosts::pin(text, id, name, &host.public_line("")))?;
        Ok(GuestKeys { host, authorized })
    }

    /// A VM that is deleted is not known any more.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or written.
    pub fn forget(&self, id: &VmId) -> Result<(), SshError> {
        let _turn = self.turn()?;
        self.change_known_hosts(|text| known_hosts::forget(text, id))
    }

    /// Holds what is pinned against the VMs that there are. A daemon that was cut off may have left one too
    /// many.
    ///
    /// # Errors
    ///
    /// As [`Self::forget`].
    pub fn retain(&self, vms: &[(VmId, VmName, VmDir)]) -> Result<(), SshError> {
        let _turn = self.turn()?;
        let mut keys = Vec::new();
        for (id, name, dir) in vms {
            // One without has not been started yet, and gets one then; so does one that cannot be read.
            let read = key_file(&dir.file(VmDir::SSH_HOST_KEY)).ok().flatten();
            keys.extend(read.map(|key| (id, name, key.public_line(""))));
        }
        self.change_known_hosts(|_| {
            keys.iter().fold(Vec::new(), |text, (id, name, key)| known_hosts::pin(&text, id, name, key))
        })
    }

    /// Waits until nobody else changes anything: another task, or `bangerd ssh-config` beside the daemon.
    fn turn(&self) -> Result<Turn<'_>, SshError> {
        let within = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        private_dir(&self.dir)?;
        let failed = |source| FileError::Io { action: "lock", path: self.dir.clone(), source };
        let dir = File::open(&self.dir).map_err(failed)?;
        flock(&dir, FlockOperation::LockExclusive).map_err(|errno| failed(errno.into()))?;
        Ok(Turn { _within: within, _dir: dir })
    }

    fn user_key(&self) -> Result<KeyPair, SshError> {
        let key = key_at(&self.dir.join(USER_KEY), "banger")?;
        let line = format!("{}\n", key.public_line("banger"));
        write_changed(&self.dir.join(USER_KEY_PUBLIC), line.as_bytes())?;
        Ok(key)
    }

    fn change_known_hosts(&self, change: impl Fn(&[u8]) -> Vec<u8>) -> Result<(), SshError> {
        let path = self.dir.join(KNOWN_HOSTS);
        let present = read(&path)?;
        let changed = change(present.as_deref().unwrap_or_default());
        if present.as_ref() != Some(&changed) {
            write_atomic(&path, &changed, 0o600)?;
        }
        Ok(())
    }
}

/// The program `banger` that was installed with this daemon; else whichever is on PATH.
pub fn banger_beside(bangerd: &Path) -> PathBuf {
    let beside = bangerd.with_file_name("banger");
    if beside.is_file() { beside } else { "banger".into() }
}

/// What a `banger` that ssh starts needs to find this daemon: an editor on a desktop has not what a shell
/// has set. The socket is found by the state directory.
pub fn environment() -> Vec<(&'static str, OsString)> {
    let names = ["XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"];
    names.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))).collect()
}

/// The key in a file. Where there is none, or what is there is no key of banger's making, a new one.
fn key_at(path: &Path, comment: &str) -> Result<KeyPair, SshError> {
    if let Some(key) = key_file(path)? {
        return Ok(key);
    }
    let key = KeyPair::generate();
    write_atomic(path, key.private_file(comment).as_bytes(), 0o600)?;
    Ok(key)
}

/// A VM's VMM may write beside its host key, and what is read here goes to the guest: a link to a key of the
/// user's is not followed, and a pipe is not waited for.
fn key_file(path: &Path) -> Result<Option<KeyPair>, SshError> {
    let failed = |source| FileError::Io { action: "read", path: path.into(), source };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT | Errno::LOOP) => return Ok(None),
        Err(errno) => return Err(failed(errno.into()).into()),
    };
    if !file.metadata().map_err(failed)?.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.take(KEY_MAX_BYTES).read_to_end(&mut bytes).map_err(failed)?;
    Ok(KeyPair::parse(&bytes))
}

/// None: it is not there.
fn read(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(FileError::Io { action: "read", path: path.into(), source }),
    }
}

fn write_changed(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    if read(path)?.as_deref() == Some(bytes) { Ok(()) } else { write_atomic(path, bytes, 0o600) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o7777
    }

    fn vm(root: &Path, id: &str, name: &str) -> (VmId, VmName, VmDir) {
        let dir = root.join(id);
        std::fs::create_dir_all(&dir).unwrap();
        (VmId::parse(id).unwrap(), VmName::parse(name).unwrap(), VmDir::at(&dir))
    }

    #[test]
    fn keys_are_made_once_and_pinned_until_the_vm_goes() {
        let root = tempfile::tempdir().unwrap();
        let ssh = Ssh { dir: root.path().join("ssh"), turn: Arc::default() };
        let (id, name, dir) = vm(root.path(), "0123456789ab", "one");
        let first = ssh.guest_keys(&id, &name, &dir).unwrap();
        let again = ssh.guest_keys(&id, &name, &dir).unwrap();
        assert_eq!(first.host.public_line(""), again.host.public_line(""));
        assert_eq!(first.authorized, again.authorized);
        for file in [USER_KEY, KNOWN_HOSTS] {
            assert_eq!(mode(&ssh.dir.join(file)), 0o600, "{file}");
        }
        assert_eq!((mode(&ssh.dir), mode(&dir.file(VmDir::SSH_HOST_KEY))), (0o700, 0o600));
        let known = || std::fs::read_to_string(ssh.dir.join(KNOWN_HOSTS)).unwrap();
        assert_eq!(known(), format!("one.vm,0123456789ab.vm {}\n", first.host.public_line("")));

        // What a VMM may have put there is no key to hand to a guest.
        let users = root.path().join("users");
        std::fs::write(&users, KeyPair::generate().private_file("mine")).unwrap();
        std::fs::remove_file(dir.file(VmDir::SSH_HOST_KEY)).unwrap();
        std::os::unix::fs::symlink(&users, dir.file(VmDir::SSH_HOST_KEY)).unwrap();
        let users = key_at(&users, "").unwrap();
        let renewed = ssh.guest_keys(&id, &name, &dir).unwrap().host;
        assert!(renewed != users && renewed != first.host);
        assert_eq!(known(), format!("one.vm,0123456789ab.vm {}\n", renewed.public_line("")));

        let other = vm(root.path(), "ba9876543210", "two");
        ssh.guest_keys(&other.0, &other.1, &other.2).unwrap();
        let both = known();
        ssh.retain(&[(id.clone(), name, dir), other]).unwrap();
        assert_eq!(known(), both);
        ssh.forget(&id).unwrap();
        assert!(known().starts_with("two.vm,") && known().lines().count() == 1, "{}", known());
        ssh.retain(&[]).unwrap();
        assert_eq!(known(), "");
    }
}
