//! The image's own SSH server, started for one connection of the host's: `sshd -i`, with a stream of the
//! host's in place of a socket. It needs no network, no init and no configuration of the image's.
//!
//! Its configuration is banger's alone ([`server_config()`]), and so are its host key and the key that may
//! log in: they are written anew for each connection, whatever the guest has done to `/etc/ssh` or `~/.ssh`.

pub mod package;
pub mod server_config;

use std::ffi::OsStr;
use std::fs::Permissions;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use banger_guest_protocol::ByteString;
use banger_guest_protocol::frame::ExecSpec;
use banger_guest_protocol::messages::SshHostKey;

use crate::exec::command::{DEFAULT_PATH, find_program};
use server_config::{Pam, server_config};

/// Where files for one connection lie. Readable by all, but for the host key: sshd reads the keys that may
/// log in as the user who does.
const DIR: &str = "/run/banger/ssh";
const CONFIG: &str = "sshd_config";
const HOST_KEY: &str = "host_key";
const AUTHORIZED_KEYS: &str = "authorized_keys";

/// Where distributions have it besides.
const MORE_PATH: &str = "/usr/lib/ssh:/usr/libexec:/run/current-system/sw/bin";

/// Directories that an sshd may have been built to lock its unprivileged part into. It starts with none of
/// them missing; packages leave it to init scripts to make the first one.
const EMPTY_DIRS: [&str; 1] = ["/run/sshd"];

const PAM_SERVICES: [&str; 3] = ["/etc/pam.d/sshd", "/usr/lib/pam.d/sshd", "/usr/etc/pam.d/sshd"];

/// Who the guest is to SSH clients, and whom it lets in.
#[derive(Clone, Debug, Default)]
pub struct SshIdentity {
    pub host_key: Option<SshHostKey>,
    pub authorized_key: Option<String>,
}

/// Why no SSH server can be started.
#[derive(Debug, thiserror::Error)]
pub enum SshdError {
    #[error("the image has no SSH server")]
    Missing(#[source] package::Package),
    #[error("the guest was given no keys for SSH when it started")]
    NoKeys,
    #[error("root's account is locked, and the image's SSH server does without PAM")]
    Locked(#[source] Unlock),
    #[error("could not {action} {}", path.display())]
    File { action: &'static str, path: PathBuf, source: io::Error },
}

/// What to do about a locked account.
#[derive(Debug, thiserror::Error)]
#[error("`usermod -p '*' root` unlocks it, and gives it no password")]
pub struct Unlock;

/// Writes what the server reads, and answers how to start it. Blocks, shortly.
///
/// # Errors
///
/// When the image has no server, or it could not work.
pub fn prepare(identity: &SshIdentity) -> Result<ExecSpec, SshdError> {
    static TURN: Mutex<()> = Mutex::new(());
    let path = [DEFAULT_PATH, MORE_PATH].join(":");
    let program = find_program(OsStr::new("sshd"), OsStr::new(&path), Path::new("/"))
        .map_err(|_| SshdError::Missing(package::of_this_system()))?;
    let (Some(host_key), Some(authorized)) = (&identity.host_key, &identity.authorized_key) else {
        return Err(SshdError::NoKeys);
    };
    let pam =
        if PAM_SERVICES.iter().any(|service| Path::new(service).exists()) { Pam::Used } else { Pam::None };
    // Without the file nobody has a password, and nobody is locked out.
    let shadow = std::fs::read("/etc/shadow").unwrap_or_default();
    if pam == Pam::None && is_locked(&shadow) {
        return Err(SshdError::Locked(Unlock));
    }
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = Path::new(DIR);
    for needed in EMPTY_DIRS.iter().map(Path::new).chain([dir]) {
        directory(needed)?;
    }
    let (config, key, keys) = (dir.join(CONFIG), dir.join(HOST_KEY), dir.join(AUTHORIZED_KEYS));
    write(&key, &host_key.private_key.0, 0o600)?;
    write(&keys, format!("{authorized}\n").as_bytes(), 0o644)?;
    write(&config, server_config(&key, &keys, pam).as_bytes(), 0o644)?;
    let words =
        [program.as_os_str(), OsStr::new("-i"), OsStr::new("-e"), OsStr::new("-f"), config.as_os_str()];
    Ok(ExecSpec {
        argv: words.into_iter().map(|word| ByteString::from(word.to_owned())).collect(),
        workdir: Some("/".into()),
        ignore_image: true,
        ..ExecSpec::default()
    })
}

/// Is root's account locked, as sshd sees it?
fn is_locked(shadow: &[u8]) -> bool {
    shadow.split(|byte| *byte == b'\n').any(|line| line.starts_with(b"root:!"))
}

fn directory(path: &Path) -> Result<(), SshdError> {
    if path.is_dir() {
        return Ok(());
    }
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o755).create(path);
    made.map_err(|source| SshdError::File { action: "make the directory", path: path.into(), source })
}

/// A server that starts at this moment reads the old content or the new one.
fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), SshdError> {
    let new = path.with_extension("new");
    let written = (|| {
        let mut file =
            std::fs::File::options().write(true).create(true).truncate(true).mode(mode).open(&new)?;
        // The creation mode went through the umask, and a file may have been there.
        file.set_permissions(Permissions::from_mode(mode))?;
        file.write_all(bytes)?;
        std::fs::rename(&new, path)
    })();
    written.map_err(|source| SshdError::File { action: "write", path: path.into(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_locked_root_is_locked_out() {
        for (shadow, locked) in [
            ("root:*:1::::::\nbin:!:1::::::\n", false),
            ("bin:x\nroot:!locked::0:99999:7:::\n", true),
            ("root:!*:1\n", true),
            ("root::1\n", false),
            ("", false),
        ] {
            assert_eq!(is_locked(shadow.as_bytes()), locked, "{shadow:?}");
        }
    }
}
