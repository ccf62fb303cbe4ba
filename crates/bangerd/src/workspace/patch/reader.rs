use std::collections::HashSet;
use std::io::BufRead;

use super::lines::LineReader;
use super::{ChangeKind, FileChange, PatchError, PatchEvents, binary, header, hunk};

/// More than any repository changes at once; it bounds what a patch can make the daemon hold.
const MAX_FILES: usize = 1_000_000;

/// All names in the patch together, for the same reason.
const MAX_NAMES_BYTES: usize = 64 << 20;

/// Reads a whole patch, which may be empty. `events` hears of its content, and may be `()`.
///
/// # Errors
///
/// If the patch is in any place not what git would print (see the module), or cannot be read. The files and
/// events before that place are then worth nothing.
pub fn read(input: impl BufRead, events: &mut impl PatchEvents) -> Result<Vec<FileChange>, PatchError> {
    let mut lines = LineReader::new(input)?;
    let mut changes: Vec<FileChange> = Vec::new();
    let mut room = binary::MAX_UNPACKED_BYTES;
    let mut names_bytes = 0;
    let mut is_sha256 = None;
    while !lines.is_at_end() {
        if changes.len() == MAX_FILES {
            return Err(PatchError::TooManyFiles { limit: MAX_FILES });
        }
        let line = lines.number();
        let mut change = header::read(&mut lines)?;
        names_bytes += change.path.as_bytes().len();
        names_bytes += change.renamed_from.as_ref().map_or(0, |path| path.as_bytes().len());
        if names_bytes > MAX_NAMES_BYTES {
            return Err(PatchError::NamesTooLong { limit_bytes: MAX_NAMES_BYTES });
        }
        if let Some(id) = change.new_id.or(change.old_id)
            && *is_sha256.get_or_insert(id.is_sha256()) != id.is_sha256()
        {
            let found = "ids of another length".to_owned();
            return Err(PatchError::Unexpected { line, expected: "ids of one length in the patch", found });
        }
        read_content(&mut lines, &mut change, events, &mut room)?;
        events.end(&change);
        changes.push(change);
    }
    check_each_file_comes_once(&changes)?;
    Ok(changes)
}

fn read_content<R: BufRead, E: PatchEvents>(
    lines: &mut LineReader<R>,
    change: &mut FileChange,
    events: &mut E,
    room: &mut u64,
) -> Result<(), PatchError> {
    if !change.has_index() || (change.is_of_empty_file() && !change.is_gitlink()) {
        events.file(change);
        return Ok(());
    }
    if change.is_gitlink() {
        return read_gitlink(lines, change, events);
    }
    if lines.whole() == Some(binary::FIRST_LINE) {
        change.binary = true;
        events.file(change);
        return binary::read(lines, events, room);
    }
    header::read_names(lines, change)?;
    events.file(change);
    hunk::read(lines, change, events)
}

/// A gitlink looks like a file of one line, which says again what `index` said.
fn read_gitlink<R: BufRead, E: PatchEvents>(
    lines: &mut LineReader<R>,
    change: &mut FileChange,
    events: &mut E,
) -> Result<(), PatchError> {
    header::read_names(lines, change)?;
    events.file(change);
    let range = |id: Option<_>| if id.is_some() { "1" } else { "0,0" };
    let header = format!("@@ -{} +{} @@", range(change.old_id), range(change.new_id));
    lines.expect(header.as_bytes(), "the one hunk of a submodule")?;
    if let Some(id) = change.old_id {
        lines.expect(format!("-Subproject commit {id}").as_bytes(), "the submodule's old commit")?;
        change.removed = 1;
    }
    if let Some(id) = change.new_id {
        lines.expect(format!("+Subproject commit {id}").as_bytes(), "the submodule's new commit")?;
        change.added = 1;
    }
    Ok(())
}

/// Two entries for one path would be applied one after the other, and each would be judged without the other.
/// The exception is what git prints when the type changes: the deletion, and right after it the addition.
fn check_each_file_comes_once(changes: &[FileChange]) -> Result<(), PatchError> {
    let mut seen = HashSet::with_capacity(changes.len());
    let mut previous: Option<&FileChange> = None;
    for change in changes {
        let is_type_change = previous.is_some_and(|previous| {
            let types = previous.old_mode.zip(change.new_mode);
            previous.kind == ChangeKind::Deleted
                && change.kind == ChangeKind::Added
                && previous.path == change.path
                && types.is_some_and(|(old, new)| !old.is_same_type(new))
        });
        for path in [Some(&change.path), change.renamed_from.as_ref()].into_iter().flatten() {
            if !seen.insert(path) && !is_type_change {
                return Err(PatchError::Twice { path: path.clone() });
            }
        }
        previous = Some(change);
    }
    Ok(())
}
