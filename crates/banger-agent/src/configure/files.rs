//! What is written into the root before its init starts.

use std::path::{Component, Path, PathBuf};

use banger_guest_protocol::messages::Configure;
use rustix::fs::Mode;

use super::guest_root::GuestRoot;
use super::hosts;
use crate::console;
use crate::system_error::{Context, SystemError};

const READABLE: Mode = Mode::from_raw_mode(0o644);
const PRIVATE: Mode = Mode::from_raw_mode(0o600);
const PRIVATE_DIR: Mode = Mode::from_raw_mode(0o700);

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("{path:?} is not an absolute path without `..`")]
    Path { path: String },
    #[error(transparent)]
    System(#[from] SystemError),
}

/// Writes host name, hosts, resolver, authorised key and the host's files. Answers what of the first three an
/// odd image has no room for: the VM is of use without them.
///
/// # Errors
///
/// The first other file that could not be written. All paths are checked before any is written.
pub(super) fn write_all(wanted: &Configure, root: &GuestRoot) -> Result<Vec<String>, FileError> {
    let files = wanted
        .files
        .iter()
        .map(|file| Ok((checked(&file.path)?, file)))
        .collect::<Result<Vec<_>, FileError>>()?;

    let name = root.write(Path::new("/etc/hostname"), format!("{}\n", wanted.hostname).as_bytes(), READABLE);
    let resolver = wanted.network.as_ref().map(|network| {
        root.write(Path::new("/etc/resolv.conf"), hosts::resolv_conf(network).as_bytes(), READABLE)
    });
    let failed = [Some(name), Some(write_hosts(wanted, root)), resolver].into_iter().flatten();
    let warnings = failed.filter_map(|result| result.err().map(|error| console::one_line(&error))).collect();
    if let Some(key) = &wanted.authorized_key {
        authorize(key, root)?;
    }
    for (path, file) in files {
        root.write(&path, &file.content.0, Mode::from_raw_mode(file.mode & 0o7777))?;
    }
    Ok(warnings)
}

fn write_hosts(wanted: &Configure, root: &GuestRoot) -> Result<(), SystemError> {
    let path = Path::new("/etc/hosts");
    let present = root.read(path)?.unwrap_or_default();
    root.write(path, &hosts::merge_hosts(&present, &wanted.hostname), READABLE)
}

fn authorize(key: &str, root: &GuestRoot) -> Result<(), SystemError> {
    let dir = Path::new("/root/.ssh");
    root.ensure_dir(Path::new("/root"), PRIVATE_DIR)?;
    root.ensure_dir(dir, PRIVATE_DIR)?;
    let opened = root
        .open_inside(dir, rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY)
        .context("open", dir.display())?;
    rustix::fs::fchmod(&opened, PRIVATE_DIR).context("protect", dir.display())?;
    let path = dir.join("authorized_keys");
    let present = root.read(&path)?.unwrap_or_default();
    let keys = hosts::add_key(&present, key).unwrap_or(present);
    root.write(&path, &keys, PRIVATE)
}

fn checked(path: &str) -> Result<PathBuf, FileError> {
    let parsed = Path::new(path);
    let plain = parsed.components().skip(1).all(|part| matches!(part, Component::Normal(_)));
    if parsed.is_absolute() && plain && parsed.file_name().is_some() && !path.contains('\0') {
        Ok(parsed.to_owned())
    } else {
        Err(FileError::Path { path: path.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use banger_guest_protocol::messages::{
        Blob, CommandDefaults, DiskSelector, Disks, GuestFile, InitChoice,
    };

    use super::super::guest_root::in_directory;
    use super::*;

    fn wanted(path: &str) -> Configure {
        Configure {
            hostname: "box".into(),
            clock_unix_ns: 0,
            entropy_seed: Blob::default(),
            disks: Disks {
                base: DiskSelector::ReadOnly,
                cow: DiskSelector::ReadOnly,
                work: None,
                modules: None,
            },
            network: None,
            authorized_key: Some("ssh-ed25519 AAAA banger".into()),
            files: vec![GuestFile { path: path.into(), mode: 0o600, content: Blob(b"host key".to_vec()) }],
            init: InitChoice::Auto,
            command_defaults: CommandDefaults::default(),
        }
    }

    #[test]
    fn an_image_without_any_directory_gets_its_files() {
        let dir = tempfile::tempdir().unwrap();
        let root = in_directory(dir.path());
        write_all(&wanted("/etc/ssh/key"), &root).unwrap();
        write_all(&wanted("/etc/ssh/key"), &root).unwrap();
        let mode = |path: &str| fs::metadata(dir.path().join(path)).unwrap().permissions().mode() & 0o7777;
        assert_eq!(fs::read_to_string(dir.path().join("etc/hostname")).unwrap(), "box\n");
        assert_eq!(
            fs::read_to_string(dir.path().join("root/.ssh/authorized_keys")).unwrap().lines().count(),
            1
        );
        assert_eq!(
            (mode("root/.ssh"), mode("root/.ssh/authorized_keys"), mode("etc/ssh/key")),
            (0o700, 0o600, 0o600)
        );
        assert_eq!(mode("etc/ssh"), 0o755);
    }

    #[test]
    fn an_image_with_no_room_for_names_is_only_warned_of() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["hosts", "hostname", ".banger-replaced-hosts", ".banger-replaced-hostname"] {
            fs::create_dir_all(dir.path().join("etc").join(name).join("taken")).unwrap();
        }
        let warnings = write_all(&wanted("/etc/ssh/key"), &in_directory(dir.path())).unwrap();
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        assert!(warnings[0].contains("/etc/hostname") && warnings[1].contains("/etc/hosts"), "{warnings:?}");
        assert!(dir.path().join("etc/ssh/key").is_file());
    }

    #[test]
    fn bad_paths_are_refused_before_anything_is_written() {
        for path in ["relative", "/etc/../x", "/", "", "/a/..", "/a\0b"] {
            let dir = tempfile::tempdir().unwrap();
            let error = write_all(&wanted(path), &in_directory(dir.path())).unwrap_err();
            assert!(matches!(error, FileError::Path { .. }), "{path:?}");
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        }
    }
}
