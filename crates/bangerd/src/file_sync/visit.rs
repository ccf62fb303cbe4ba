//! What the entries name, in the order in which it is copied.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use banger_guest_protocol::archive::BLOCK_LEN;
use banger_host::walk::{Found, FoundKind, Walk};

use super::{Entry, FileSyncError, GUEST_HOME};

/// A file for which nothing else is said: most of what people name here is a secret.
const PRIVATE_FILE: u32 = 0o600;

/// How many of the things that stay behind are named.
const NAMED: usize = 3;

/// Something to copy.
pub(super) struct Item<'a> {
    pub(super) entry: &'a Entry,
    pub(super) path: PathBuf,
    /// Its name in the archive.
    pub(super) name: Vec<u8>,
    pub(super) mode: u32,
    pub(super) mtime_s: i64,
    pub(super) kind: ItemKind,
}

pub(super) enum ItemKind {
    File { file: File, len: u64 },
    Directory,
    Symlink { target: OsString },
}

impl Item<'_> {
    /// A file or a link.
    pub(super) fn is_file(&self) -> bool {
        !matches!(self.kind, ItemKind::Directory)
    }

    /// Of its content, in bytes.
    pub(super) fn len(&self) -> u64 {
        if let ItemKind::File { len, .. } = self.kind { len } else { 0 }
    }

    /// About what it takes of the archive, in bytes.
    fn archive_len(&self) -> u64 {
        let target = if let ItemKind::Symlink { target } = &self.kind { target.len() } else { 0 };
        let names = (self.name.len() + target) as u64;
        self.len().saturating_add(names).saturating_add(2 * BLOCK_LEN as u64)
    }
}

/// Shows `each` everything, up to `limit_bytes` of it. What is missing and what cannot be copied is left out;
/// that is what the answer tells of.
pub(super) fn visit(
    entries: &[Entry],
    limit_bytes: u64,
    mut each: impl FnMut(Item<'_>) -> Result<(), FileSyncError>,
) -> Result<Vec<String>, FileSyncError> {
    let mut notices = Vec::new();
    let mut left = limit_bytes;
    for entry in entries {
        let failed = |source| FileSyncError::Walk { entry: entry.clone(), source };
        let Some(walk) = Walk::begin(&entry.host).map_err(failed)? else {
            notices.push(format!("{entry} is not copied: it does not exist"));
            continue;
        };
        private_parents(entry).into_iter().try_for_each(&mut each)?;
        let (mut skipped, mut skipped_count) = (Vec::new(), 0);
        for found in walk {
            let found = found.map_err(failed)?;
            let path = found.path.clone();
            let Some(item) = item(entry, found) else {
                skipped_count += 1;
                if skipped.len() < NAMED {
                    skipped.push(path.display().to_string());
                }
                continue;
            };
            let too_large = || FileSyncError::TooLarge { entry: entry.clone(), limit_bytes };
            left = left.checked_sub(item.archive_len()).ok_or_else(too_large)?;
            each(item)?;
        }
        if skipped_count > 0 {
            let more = skipped_count - skipped.len();
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let named = skipped.join(", ");
            notices.push(format!("{entry}: no sockets, FIFOs or devices are copied: {named}{more}"));
        }
    }
    Ok(notices)
}

/// None for what cannot be copied.
fn item(entry: &Entry, found: Found) -> Option<Item<'_>> {
    let permissions = found.mode & 0o777;
    let is_named_itself = found.below.as_os_str().is_empty();
    let (mode, kind) = match found.kind {
        FoundKind::File { file, len } => {
            let own = if is_named_itself { PRIVATE_FILE } else { permissions };
            (entry.mode.unwrap_or(own), ItemKind::File { file, len })
        }
        FoundKind::Directory => (permissions, ItemKind::Directory),
        FoundKind::Symlink { target } => (permissions, ItemKind::Symlink { target }),
        FoundKind::Special => return None,
    };
    let guest = Path::new(&entry.guest);
    // Joined to nothing, it would end in a slash.
    let name = if is_named_itself { name(guest) } else { name(&guest.join(&found.below)) };
    Some(Item { entry, path: found.path, name, mode, mtime_s: found.mtime_s, kind })
}

/// The directories on the guest's path that have the host's name and there are nobody else's: they are to be
/// private in the guest, too. ssh, for one, wants that of `~/.ssh`. The others come into being as they are
/// needed.
fn private_parents(entry: &Entry) -> Vec<Item<'_>> {
    let mut parents = Vec::new();
    let (mut host, mut guest) = (entry.host.as_path(), Path::new(&entry.guest));
    while let (Some(host_parent), Some(guest_parent)) = (host.parent(), guest.parent()) {
        (host, guest) = (host_parent, guest_parent);
        if guest.file_name().is_none() || guest.file_name() != host.file_name() {
            break;
        }
        // Whoever could find the file can look at what it is in; if that has just gone, so has the file.
        let Ok(found) = host.metadata() else { break };
        if found.mode() & 0o077 == 0 {
            let (mode, mtime_s) = (0o700, found.mtime());
            let (path, name) = (host.to_owned(), name(guest));
            parents.push(Item { entry, path, name, mode, mtime_s, kind: ItemKind::Directory });
        }
    }
    parents.reverse();
    parents
}

fn name(below_home: &Path) -> Vec<u8> {
    [GUEST_HOME.as_bytes(), b"/", below_home.as_os_str().as_bytes()].concat()
}
