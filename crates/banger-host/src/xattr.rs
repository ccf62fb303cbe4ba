//! Extended attributes as ext4 stores them.

/// Numbers that stand for the beginnings of names.
const NAMESPACES: &[(&[u8], u8)] = &[(b"user.", 1), (b"trusted.", 4), (b"security.", 6)];
const ACCESS_LISTS: &[(&[u8], u8)] = &[(b"system.posix_acl_access", 2), (b"system.posix_acl_default", 3)];
const NAME_LEN_MAX: usize = 255;

/// An attribute as it lies on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredXattr {
    pub(crate) namespace: u8,
    pub(crate) name: Vec<u8>,
    pub(crate) value: Vec<u8>,
}

/// None when ext4 cannot store an attribute of this name (those of other filesystems mean nothing to it), or
/// when an access list is malformed.
pub(crate) fn stored(name: &[u8], value: &[u8]) -> Option<StoredXattr> {
    if let Some((_, namespace)) = ACCESS_LISTS.iter().find(|(list, _)| *list == name) {
        return Some(StoredXattr { namespace: *namespace, name: Vec::new(), value: access_list(value)? });
    }
    let (prefix, namespace) = NAMESPACES.iter().find(|(prefix, _)| name.starts_with(prefix))?;
    let name = &name[prefix.len()..];
    let accepted = !name.is_empty() && name.len() <= NAME_LEN_MAX && !name.contains(&0);
    accepted.then(|| StoredXattr { namespace: *namespace, name: name.to_vec(), value: value.to_vec() })
}

/// From the form of the system calls (version 2: every entry has a tag, permissions and an id) to the disk's
/// (version 1: only named users and groups have an id).
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
        let value = [&[1, 0, 0, 0][..], &owner[..4], &user].concat();
        let expected = StoredXattr { namespace: 2, name: Vec::new(), value };
        assert_eq!(stored(b"system.posix_acl_access", &call), Some(expected));
        assert_eq!(stored(b"system.posix_acl_access", &call[..9]), None);
        let expected = StoredXattr { namespace: 1, name: b"x".to_vec(), value: b"as is".to_vec() };
        assert_eq!(stored(b"user.x", b"as is"), Some(expected));
    }

    #[test]
    fn attributes_of_other_filesystems_are_told_apart() {
        assert!(stored(b"security.capability", b"").is_some() && stored(b"user.\xFF", b"").is_some());
        for name in [&b"btrfs.compression"[..], b"system.nfs4_acl", b"user.", b"user.a\0b", &[b'u'; 300]] {
            assert_eq!(stored(name, b""), None);
        }
    }
}
