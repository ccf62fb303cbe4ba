//! What has become of the files that the prepared index names.

use std::collections::BTreeSet;

use banger_guest_protocol::ByteString;
use banger_host::git::records;

use super::WorkspaceError;
use super::guest_git::GuestGit;
use super::inspect::Tracked;
use super::object_space::quoted;

/// Repositories and things that are no file, among directories (with a slash at the end) and changed files.
/// git does not look for a repository in a directory in which it knows files, and ends at a pipe.
const LOOK: &str = r#"
    for path; do
        case $path in
        */) if [ -e "$path.git" ]; then printf 'R%s.git\0' "$path"; fi ;;
        *) if [ -L "$path" ] || [ -f "$path" ]; then :
           elif [ -e "$path/.git" ]; then printf 'R%s\0' "$path"
           elif [ -e "$path" ] && [ ! -d "$path" ]; then printf 'S%s\0' "$path"
           fi ;;
        esac
    done
"#;

/// A file that differs from what the index says of it.
struct Changed {
    path: ByteString,
    /// As the index has it, and as it is now.
    modes: [Vec<u8>; 2],
    id: Vec<u8>,
    is_gone: bool,
}

/// How the index is brought to what is there.
#[derive(Default)]
pub(super) struct Changes {
    pub(super) gone: Vec<u8>,
    pub(super) there: Vec<u8>,
    /// Lines for `update-index --index-info`: what only its mode has changed of.
    pub(super) modes: Vec<u8>,
    pub(super) repositories: BTreeSet<Vec<u8>>,
    /// What is no file, directory or symlink.
    pub(super) special: Vec<ByteString>,
}

/// Looks for it. Where `may_convert`, a file counts as changed only when it differs byte for byte: one that
/// git would convert now and had not when it was committed has not been edited by being touched.
///
/// # Errors
///
/// When the guest's git fails.
pub(super) async fn changes(
    git: &GuestGit<'_>,
    own: &[Tracked],
    may_convert: bool,
) -> Result<Changes, WorkspaceError> {
    let listed = ["diff-files", "-z", "--raw", "--ignore-submodules=all"];
    let mut changed = parse(&git.output(&listed, &[][..]).await?);
    let mut changes = Changes::default();
    for found in look(git, own, &changed).await? {
        match found.split_first() {
            Some((b'R', path)) => drop(changes.repositories.insert(path.to_vec())),
            Some((_, path)) => changes.special.push(path.to_vec().into()),
            None => {}
        }
    }
    for change in &mut changed {
        change.is_gone |=
            changes.special.contains(&change.path) || changes.repositories.contains(change.path.as_bytes());
    }
    let touched = if may_convert { touched(git, &changed).await? } else { BTreeSet::new() };
    for (at, Changed { path, modes: [before, now], id, is_gone }) in changed.iter().enumerate() {
        let path = path.as_bytes();
        if touched.contains(&at) {
            if before != now {
                changes.modes.extend([now, &b" "[..], id, b"\t", path, b"\0"].concat());
            }
            continue;
        }
        let list = if *is_gone { &mut changes.gone } else { &mut changes.there };
        list.extend([path, b"\0"].concat());
    }
    Ok(changes)
}

/// `:100644 100755 <id> <id> M<NUL>path<NUL>`.
fn parse(raw: &[u8]) -> Vec<Changed> {
    let mut fields = raw.split(|byte| *byte == 0);
    let mut changed = Vec::new();
    while let (Some(head), Some(path)) = (fields.next(), fields.next()) {
        let mut words = head.strip_prefix(b":").unwrap_or(head).split(|byte| *byte == b' ');
        let mut word = || words.next().unwrap_or_default().to_vec();
        let (modes, id, _, status) = ([word(), word()], word(), word(), word());
        changed.push(Changed { path: path.to_vec().into(), modes, id, is_gone: status == b"D" });
    }
    changed
}

async fn look(
    git: &GuestGit<'_>,
    own: &[Tracked],
    changed: &[Changed],
) -> Result<Vec<Vec<u8>>, WorkspaceError> {
    let mut dirs = BTreeSet::new();
    for path in own.iter().map(|entry| entry.path.as_bytes()) {
        // Of a directory that is known all above it are known.
        let slashes = (0..path.len()).rev().filter(|at| path[*at] == b'/');
        for dir in slashes.map(|slash| &path[..=slash]) {
            if !dirs.insert(dir) {
                break;
            }
        }
    }
    let paths = dirs.into_iter().chain(changed.iter().map(|change| change.path.as_bytes()));
    let paths: Vec<u8> = paths.flat_map(|path| path.iter().copied().chain([0])).collect();
    if paths.is_empty() {
        return Ok(Vec::new());
    }
    let argv: [&[u8]; 6] = [b"xargs", b"-0", b"sh", b"-c", LOOK.as_bytes(), b"sh"];
    let found = git.program_output(&argv, paths).await?;
    Ok(records(&found).map(<[u8]>::to_vec).collect())
}

/// Which of them have the very bytes that the index names.
async fn touched(git: &GuestGit<'_>, changed: &[Changed]) -> Result<BTreeSet<usize>, WorkspaceError> {
    let is_file = |mode: &Vec<u8>| mode.starts_with(b"100");
    let files = changed.iter().enumerate().filter(|(_, change)| !change.is_gone);
    let files: Vec<_> = files.filter(|(_, change)| change.modes.iter().all(is_file)).collect();
    if files.is_empty() {
        return Ok(BTreeSet::new());
    }
    let paths: Vec<u8> = files.iter().flat_map(|(_, change)| quoted(change.path.as_bytes())).collect();
    let ids = git.output(&["hash-object", "--no-filters", "--stdin-paths"], paths).await?;
    let ids = ids.split(|byte| *byte == b'\n');
    let same = files.iter().zip(ids).filter(|((_, change), id)| change.id == *id);
    Ok(same.map(|((at, _), _)| *at).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_changes_is_read() {
        let raw = b":100644 100755 11 00 M\0a b\0:120000 000000 22 00 D\0c\0";
        let changed = parse(raw);
        let read: Vec<_> =
            changed.iter().map(|change| (change.path.as_bytes(), &change.id[..], change.is_gone)).collect();
        assert_eq!(read, [(&b"a b"[..], &b"11"[..], false), (b"c", b"22", true)]);
        assert_eq!(changed[0].modes, [b"100644".to_vec(), b"100755".to_vec()]);
    }
}
