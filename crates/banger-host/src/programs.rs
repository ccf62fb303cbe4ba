//! Where programs are, and which package brings them.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::command::CommandError;

/// Which Debian package brings a program.
const PACKAGES: &[(&str, &str)] = &[
    ("debugfs", "e2fsprogs"),
    ("depmod", "kmod"),
    ("dumpe2fs", "e2fsprogs"),
    ("e2fsck", "e2fsprogs"),
    ("git", "git"),
    ("ip", "iproute2"),
    ("mke2fs", "e2fsprogs"),
    ("mmdebstrap", "mmdebstrap"),
    ("newgidmap", "uidmap"),
    ("newuidmap", "uidmap"),
    ("nft", "nftables"),
    ("pasta", "passt"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("resize2fs", "e2fsprogs"),
    ("resolvectl", "systemd-resolved"),
    ("rm", "coreutils"),
    ("ssh", "openssh-client"),
    ("ssh-keygen", "openssh-client"),
    ("unshare", "util-linux"),
];

/// Where an ordinary user's PATH does not look, but Debian keeps administration tools.
const EXTRA_PATH: &[&str] = &["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// Finds a program on PATH, then where Debian keeps administration tools. A name with a slash is taken as a
/// path.
///
/// # Errors
///
/// [`CommandError::NotFound`], which names the Debian package to install.
pub fn find_program(name: &str) -> Result<PathBuf, CommandError> {
    let is_program = |path: &Path| {
        path.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    let not_found = || CommandError::NotFound { program: name.to_owned(), package: package_of(name) };
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(|path| is_program(path)).ok_or_else(not_found);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(EXTRA_PATH.iter().map(PathBuf::from))
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(name))
        .find(|candidate| is_program(candidate))
        .ok_or_else(not_found)
}

/// The Debian package that brings a program; the path to it, if any, does not matter.
pub fn package_of(program: &str) -> Option<&'static str> {
    let name = program.rsplit('/').next().unwrap_or(program);
    PACKAGES.iter().find(|(known, _)| *known == name).map(|(_, package)| *package)
}
