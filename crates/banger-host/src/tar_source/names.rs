//! Names as they stand in a tar file, and what of them is accepted.

use super::TarError;

/// As many bytes as Linux accepts in a path, its end included.
const PATH_LEN_MAX: usize = 4095;
const NAME_LEN_MAX: usize = 255;

/// A name as people are told of it.
pub(crate) fn printable(name: &[u8]) -> String {
    const SHOWN_LEN: usize = 200;
    if name.len() <= SHOWN_LEN {
        return String::from_utf8_lossy(name).into_owned();
    }
    format!("{}...", String::from_utf8_lossy(&name[..SHOWN_LEN]))
}

/// The path that an entry's name or a hard link's target means: of the names it is made of, without `.` and
/// doubled slashes. A slash in front means the archive's root, and `..` ends there, as in a chroot: container
/// tools read such names so, and nothing here is looked up on the host.
pub(crate) fn path(raw: &[u8]) -> Result<Vec<u8>, TarError> {
    if raw.contains(&0) {
        return Err(TarError::Field { name: printable(raw), field: "name" });
    }
    let mut normal = Vec::with_capacity(raw.len().min(PATH_LEN_MAX));
    for part in raw.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => continue,
            b".." => {
                normal.truncate(normal.iter().rposition(|byte| *byte == b'/').unwrap_or(0));
                continue;
            }
            _ => {}
        }
        if part.len() > NAME_LEN_MAX || normal.len() + part.len() >= PATH_LEN_MAX {
            return Err(TarError::LongName { name: printable(raw) });
        }
        if !normal.is_empty() {
            normal.push(b'/');
        }
        normal.extend_from_slice(part);
    }
    Ok(normal)
}

/// A symbolic link's target is kept as it is: it means nothing to the host.
pub(super) fn symlink_target(raw: Vec<u8>, name: &str) -> Result<Vec<u8>, TarError> {
    if raw.is_empty() || raw.len() > PATH_LEN_MAX || raw.contains(&0) {
        return Err(TarError::Field { name: name.to_owned(), field: "link target" });
    }
    Ok(raw)
}
