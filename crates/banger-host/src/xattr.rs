//! Extended attributes as ext4 stores them.

/// The namespaces ext4 has.
const NAMESPACES: &[&str] = &["user.", "trusted.", "security."];
const ACCESS_LISTS: &[&str] = &["system.posix_acl_access", "system.posix_acl_default"];

/// Can ext4 store an attribute of this name? Those of other filesystems mean nothing to it.
pub(crate) fn storable(name: &str) -> bool {
    ACCESS_LISTS.contains(&name)
        || NAMESPACES
            .iter()
            .any(|namespace| name.strip_prefix(namespace).is_some_and(|rest| !rest.is_empty()))
}

/// The attribute's value as it lies on disk: access lists have a form of their own there. None when one is malformed.
pub(crate) fn on_disk_value(name: &str, value: &[u8]) -> Option<Vec<u8>> {
    if ACCESS_LISTS.contains(&name) { access_list(value) } else { Some(value.to_vec()) }
}

/// From the form of the system calls (version 2: every entry has a tag, permissions and an id) to the disk's (version 1: only
/// named users and groups have an id).
fn access_list(value: &[u8]) -> Option<Vec<u8>> {
    const CALL_VERSION: [u8; 4] = 2_u32.to_le_bytes();
    const DISK_VERSION: [u8; 4] = 1_u32.to_le_bytes();
    const USER: [u8; 2] = 0x02_u16.to_le_bytes();
    const GROUP: [u8; 2] = 0x08_u16.to_le_bytes();

    let entries = value.strip_prefix(&CALL_VERSION)?;
    let (entries, []) = entries.as_chunks::<8>() else { return None };
    let mut disk = DISK_VERSION.to_vec();
    for entry in entries {
        let named = entry.starts_with(&USER) || entry.starts_with(&GROUP);
        disk.extend_from_slice(if named { entry } else { &entry[..4] });
    }
    Some(disk)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_named_entries_keep_their_id() {
        let owner = [1, 0, 7, 0, 0xFF, 0xFF, 0xFF, 0xFF];
        let user = [2, 0, 6, 0, 0xE8, 3, 0, 0];
        let call = [&[2, 0, 0, 0][..], &owner, &user].concat();
        let disk = [&[1, 0, 0, 0][..], &owner[..4], &user].concat();
        assert_eq!(on_disk_value("system.posix_acl_access", &call), Some(disk));
        assert_eq!(on_disk_value("system.posix_acl_access", &call[..9]), None);
        assert_eq!(on_disk_value("user.x", b"as is"), Some(b"as is".to_vec()));
    }

    #[test]
    fn attributes_of_other_filesystems_are_told_apart() {
        assert!(storable("security.capability") && storable("user.mime"));
        assert!(!storable("btrfs.compression") && !storable("system.nfs4_acl") && !storable("user."));
    }
}
