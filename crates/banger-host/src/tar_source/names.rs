//! Names as they stand in a tar file, and what of them is accepted.

use super::TarError;

/// As many bytes as Linux accepts in a path, its end included.
const PATH_LEN_MAX: usize = 4095;
const NAME_LEN_MAX: usize = 255;

/// What becomes of entries whose name begins with a slash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbsoluteNames {
    /// An OCI layer's names are relative.
    Refused,
    /// The slash goes, as any tar program does it.
    Stripped,
}

/// A name as people are told of it.
pub(crate) fn shown(name: &[u8]) -> String {
    const SHOWN_LEN: usize = 200;
    if name.len() <= SHOWN_LEN {
        return String::from_utf8_lossy(name).into_owned();
    }
    format!("{}...", String::from_utf8_lossy(&name[..SHOWN_LEN]))
}

/// An entry's name: without `.` and doubled slashes; `..` is refused.
pub(super) fn path(raw: &[u8], absolute: AbsoluteNames) -> Result<Vec<u8>, TarError> {
    // The root itself has no other name; `umoci insert` writes that.
    let is_root = raw.iter().all(|byte| *byte == b'/');
    if raw.starts_with(b"/") && !is_root && absolute == AbsoluteNames::Refused {
        return Err(TarError::Absolute { name: shown(raw) });
    }
    normalise(raw, raw)?.ok_or_else(|| TarError::Escape { name: shown(raw) })
}

/// The path that a hard link names. A slash in front means the archive's root, as container tools have it.
pub(super) fn link_target(raw: &[u8], name: &str) -> Result<Vec<u8>, TarError> {
    normalise(raw, raw)?.ok_or_else(|| TarError::LinkEscape { name: name.to_owned(), target: shown(raw) })
}

/// A symbolic link's target is kept as it is: it means nothing to the host.
pub(super) fn symlink_target(raw: Vec<u8>, name: &str) -> Result<Vec<u8>, TarError> {
    if raw.is_empty() || raw.len() > PATH_LEN_MAX || raw.contains(&0) {
        return Err(TarError::Field { name: name.to_owned(), field: "link target" });
    }
    Ok(raw)
}

/// None when it leads up.
fn normalise(path: &[u8], whole: &[u8]) -> Result<Option<Vec<u8>>, TarError> {
    if path.contains(&0) {
        return Err(TarError::Field { name: shown(whole), field: "name" });
    }
    let mut normal = Vec::with_capacity(path.len().min(PATH_LEN_MAX));
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => continue,
            b".." => return Ok(None),
            _ => {}
        }
        if part.len() > NAME_LEN_MAX || normal.len() + part.len() >= PATH_LEN_MAX {
            return Err(TarError::LongName { name: shown(whole) });
        }
        if !normal.is_empty() {
            normal.push(b'/');
        }
        normal.extend_from_slice(part);
    }
    Ok(Some(normal))
}
