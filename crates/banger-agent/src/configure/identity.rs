//! Which VM the guest is: what the kernel knows of it, and the files that say it.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use banger_guest_protocol::messages::{Identified, Identity, SshHostKey, SshKeyKind};
use rustix::fs::{Mode, OFlags};

use super::guest_root::GuestRoot;
use super::{ConfigureError, clock, for_init, hosts, network};
use crate::console;
use crate::ssh::{SshIdentity, server_config};
use crate::system_error::{Context as _, SystemError};

const READABLE: Mode = Mode::from_raw_mode(0o644);
const READ_ONLY: Mode = Mode::from_raw_mode(0o444);
const PRIVATE: Mode = Mode::from_raw_mode(0o600);
const PRIVATE_DIR: Mode = Mode::from_raw_mode(0o700);

const RESOLV_CONF: &str = "/etc/resolv.conf";
const MACHINE_ID: &str = "/etc/machine-id";

/// Where systemd is, whichever way it is started.
const SYSTEMD: [&str; 2] = ["/usr/lib/systemd/systemd", "/lib/systemd/systemd"];

/// Where a server's configuration is: the second one counts where the first is missing.
const SSHD_CONFIGS: [&str; 2] = ["/etc/ssh/sshd_config", "/usr/etc/ssh/sshd_config"];

const SSH_KEY_KINDS: [SshKeyKind; 3] = [SshKeyKind::Ed25519, SshKeyKind::Ecdsa, SshKeyKind::Rsa];

/// What is to go when the next identity comes, and is of use until then.
#[derive(Debug, Default)]
pub struct FormerIdentity {
    ssh: Mutex<SshIdentity>,
}

impl FormerIdentity {
    /// What `identity` has let in.
    pub fn remember(&self, identity: &Identity) {
        *self.lock() = ssh_identity(identity);
    }

    /// The keys by which the guest is known, and lets in, until there is another identity.
    pub fn ssh(&self) -> SshIdentity {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, SshIdentity> {
        self.ssh.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn ssh_identity(identity: &Identity) -> SshIdentity {
    let ed25519 = identity.ssh_host_keys.iter().find(|key| key.kind == SshKeyKind::Ed25519);
    SshIdentity { host_key: ed25519.cloned(), authorized_key: identity.authorized_key.clone() }
}

/// Makes a guest that runs another VM. Blocks; a second one waits for the first.
///
/// # Errors
///
/// The first thing that failed and without which it would be taken for the VM that it was. What was done by
/// then stays; the same call may be made again.
pub fn identify(identity: &Identity, former: &FormerIdentity) -> Result<Identified, ConfigureError> {
    let mut ssh = former.lock();
    tell_kernel(identity)?;
    let root = GuestRoot::open(Path::new("/"))?;
    let mut warnings = write_files(identity, ssh.authorized_key.as_deref(), &root)?;
    *ssh = ssh_identity(identity);
    if identity.network.is_none() {
        warnings.extend(
            root.write(Path::new(RESOLV_CONF), b"", READABLE).err().map(|error| console::one_line(&error)),
        );
    }
    let interface =
        network::replace(identity.network.as_ref(), &mut warnings).map_err(ConfigureError::Network)?;
    let network = interface.zip(identity.network.as_ref());
    warnings.extend(for_init::replace_network(network).iter().map(|error| console::one_line(error)));
    Ok(Identified { warnings })
}

/// Entropy comes first: whatever is random afterwards is this VM's own.
pub(super) fn tell_kernel(identity: &Identity) -> Result<(), SystemError> {
    clock::add_entropy(&identity.entropy_seed.0)?;
    clock::set_clock(identity.clock_unix_ns)?;
    rustix::system::sethostname(identity.hostname.as_bytes())
        .context("set the host name to", &identity.hostname)
}

/// Writes host name, hosts, resolver, machine id and keys. The key that the identity before this one let in
/// goes. Answers what of the first four an odd image has no room for: the VM is of use without them.
///
/// # Errors
///
/// The first key that could not be written.
pub(super) fn write_files(
    identity: &Identity,
    former_key: Option<&str>,
    root: &GuestRoot,
) -> Result<Vec<String>, SystemError> {
    let hostname = format!("{}\n", identity.hostname);
    let name = root.write(Path::new("/etc/hostname"), hostname.as_bytes(), READABLE);
    let resolver = identity.network.as_ref().map_or(Ok(()), |network| {
        root.write(Path::new(RESOLV_CONF), hosts::resolv_conf(network).as_bytes(), READABLE)
    });
    let written = [name, write_hosts(&identity.hostname, root), resolver, write_machine_id(identity, root)];
    let warnings =
        written.into_iter().filter_map(|result| result.err().map(|error| console::one_line(&error)));
    authorize(former_key, identity.authorized_key.as_deref(), root)?;
    write_ssh_host_keys(&identity.ssh_host_keys, root)?;
    harden_ssh_server(root)?;
    Ok(warnings.collect())
}

/// A server that the image's init starts lets nobody in by password. One whose configuration has no place for
/// banger's part is left as it is.
fn harden_ssh_server(root: &GuestRoot) -> Result<(), SystemError> {
    for path in SSHD_CONFIGS {
        let Some(config) = root.read(Path::new(path))? else { continue };
        if server_config::reads_drop_in(&config) {
            root.write(Path::new(server_config::DROP_IN), server_config::drop_in().as_bytes(), READABLE)?;
        }
        break;
    }
    Ok(())
}

fn write_hosts(hostname: &str, root: &GuestRoot) -> Result<(), SystemError> {
    let path = Path::new("/etc/hosts");
    let present = root.read(path)?.unwrap_or_default();
    root.write(path, &hosts::merge_hosts(&present, hostname), READABLE)
}

/// Without an id systemd takes this for the first boot of a machine, and asks whoever sits at the console for
/// its language before it goes on.
fn write_machine_id(identity: &Identity, root: &GuestRoot) -> Result<(), SystemError> {
    if !SYSTEMD.iter().any(|path| root.open_inside(Path::new(path), OFlags::PATH).is_ok()) {
        return Ok(());
    }
    root.write(Path::new(MACHINE_ID), format!("{}\n", identity.machine_id).as_bytes(), READ_ONLY)
}

fn authorize(former: Option<&str>, key: Option<&str>, root: &GuestRoot) -> Result<(), SystemError> {
    if former.or(key).is_none() {
        return Ok(());
    }
    let dir = Path::new("/root/.ssh");
    root.ensure_dir(Path::new("/root"), PRIVATE_DIR)?;
    root.ensure_dir(dir, PRIVATE_DIR)?;
    let opened = root.open_inside(dir, OFlags::RDONLY | OFlags::DIRECTORY).context("open", dir.display())?;
    rustix::fs::fchmod(&opened, PRIVATE_DIR).context("protect", dir.display())?;
    let path = dir.join("authorized_keys");
    let present = root.read(&path)?.unwrap_or_default();
    root.write(&path, &hosts::replace_key(&present, former, key), PRIVATE)
}

/// A key that is not among those given goes: it may be another machine's as well.
fn write_ssh_host_keys(keys: &[SshHostKey], root: &GuestRoot) -> Result<(), SystemError> {
    if keys.is_empty() {
        return Ok(());
    }
    for kind in SSH_KEY_KINDS {
        let (private, public) = ssh_key_files(kind);
        match keys.iter().find(|key| key.kind == kind) {
            Some(key) => {
                root.write(Path::new(&private), &key.private_key.0, PRIVATE)?;
                root.write(Path::new(&public), format!("{}\n", key.public_key.trim()).as_bytes(), READABLE)?;
            }
            None => {
                root.remove(Path::new(&private))?;
                root.remove(Path::new(&public))?;
            }
        }
    }
    Ok(())
}

/// The files of a private key and its public one.
fn ssh_key_files(kind: SshKeyKind) -> (String, String) {
    let kind = match kind {
        SshKeyKind::Ed25519 => "ed25519",
        SshKeyKind::Ecdsa => "ecdsa",
        SshKeyKind::Rsa => "rsa",
    };
    let private = format!("/etc/ssh/ssh_host_{kind}_key");
    let public = format!("{private}.pub");
    (private, public)
}

#[cfg(test)]
pub(super) fn example() -> Identity {
    Identity {
        hostname: "box".into(),
        clock_unix_ns: 0,
        entropy_seed: banger_guest_protocol::messages::Blob::default(),
        network: None,
        machine_id: "0123456789abcdef0123456789abcdef".into(),
        authorized_key: Some("ssh-ed25519 AAAA banger".into()),
        ssh_host_keys: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use banger_guest_protocol::messages::Blob;

    use super::super::guest_root::in_directory;
    use super::*;

    #[test]
    fn an_image_without_any_directory_gets_its_files() {
        let dir = tempfile::tempdir().unwrap();
        let root = in_directory(dir.path());
        for _again in 0..2 {
            assert!(write_files(&example(), None, &root).unwrap().is_empty());
        }
        let mode = |path: &str| fs::metadata(dir.path().join(path)).unwrap().permissions().mode() & 0o7777;
        let text = |path: &str| fs::read_to_string(dir.path().join(path)).unwrap();
        assert_eq!(text("etc/hostname"), "box\n");
        assert_eq!(text("root/.ssh/authorized_keys").lines().count(), 1);
        assert_eq!((mode("root/.ssh"), mode("root/.ssh/authorized_keys")), (0o700, 0o600));
    }

    #[test]
    fn an_image_with_no_room_for_names_is_only_warned_of() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["hosts", "hostname", ".banger-replaced-hosts", ".banger-replaced-hostname"] {
            fs::create_dir_all(dir.path().join("etc").join(name).join("taken")).unwrap();
        }
        let warnings = write_files(&example(), None, &in_directory(dir.path())).unwrap();
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings[0].contains("/etc/hostname") && warnings[1].contains("/etc/hosts"), "{warnings:?}");
        assert!(dir.path().join("root/.ssh/authorized_keys").is_file());
    }

    #[test]
    fn a_machine_with_systemd_has_the_id_of_its_identity() {
        let dir = tempfile::tempdir().unwrap();
        let root = in_directory(dir.path());
        write_files(&example(), None, &root).unwrap();
        assert!(!dir.path().join("etc/machine-id").exists(), "it has no systemd");
        fs::create_dir_all(dir.path().join("usr/lib/systemd")).unwrap();
        fs::write(dir.path().join("usr/lib/systemd/systemd"), "").unwrap();
        for image in ["uninitialized\n", "ffffffffffffffffffffffffffffffff\n"] {
            fs::write(dir.path().join("etc/machine-id"), image).unwrap();
            write_files(&example(), None, &root).unwrap();
            let id = fs::read_to_string(dir.path().join("etc/machine-id")).unwrap();
            assert_eq!(id.trim_end(), example().machine_id);
        }
    }

    #[test]
    fn another_identity_takes_the_place_of_the_former() {
        let dir = tempfile::tempdir().unwrap();
        let root = in_directory(dir.path());
        let key = |kind, text: &str| SshHostKey {
            kind,
            private_key: Blob(text.as_bytes().to_vec()),
            public_key: format!("{text}.pub"),
        };
        let first = vec![key(SshKeyKind::Ed25519, "one"), key(SshKeyKind::Rsa, "rsa")];
        let first = Identity { ssh_host_keys: first, ..example() };
        write_files(&first, None, &root).unwrap();
        let second = Identity {
            hostname: "other".into(),
            authorized_key: Some("ssh-ed25519 BBBB other".into()),
            ssh_host_keys: vec![key(SshKeyKind::Ed25519, "two")],
            ..example()
        };
        write_files(&second, first.authorized_key.as_deref(), &root).unwrap();
        let text = |path: &str| fs::read_to_string(dir.path().join(path)).unwrap();
        assert_eq!(text("etc/ssh/ssh_host_ed25519_key"), "two");
        assert_eq!(text("etc/ssh/ssh_host_ed25519_key.pub"), "two.pub\n");
        assert_eq!(fs::read_dir(dir.path().join("etc/ssh")).unwrap().count(), 2, "the rsa key is gone");
        assert!(text("etc/hosts").contains("127.0.1.1 other\n") && !text("etc/hosts").contains("box"));
        assert_eq!(text("root/.ssh/authorized_keys"), "ssh-ed25519 BBBB other\n");
        let third = Identity { ssh_host_keys: Vec::new(), authorized_key: None, ..second.clone() };
        write_files(&third, second.authorized_key.as_deref(), &root).unwrap();
        assert_eq!(text("etc/ssh/ssh_host_ed25519_key"), "two", "none given: those stay");
        assert_eq!(text("root/.ssh/authorized_keys"), "");
    }
}
