//! The lines before the content of a file, in the one order in which git prints them.

use std::io::BufRead;

use super::lines::LineReader;
use super::quoting::{quote, unquote};
use super::{BlobId, ChangeKind, FileChange, FileMode, PatchError, tree_path};

pub(super) const FIRST_LINE: &str = "diff --git ";

/// What the first lines after `diff --git` say.
struct Modes {
    kind: ChangeKind,
    old: Option<FileMode>,
    new: Option<FileMode>,
}

struct Rename {
    from: Vec<u8>,
    to: Vec<u8>,
    similarity_percent: u8,
}

struct Index {
    old: BlobId,
    new: BlobId,
    /// Given only if both sides have it.
    mode: Option<FileMode>,
}

/// Reads from `diff --git` up to the content, which may be missing.
pub(super) fn read<R: BufRead>(lines: &mut LineReader<R>) -> Result<FileChange, PatchError> {
    let line = lines.number();
    let Some(names) = lines.after(FIRST_LINE).map(<[u8]>::to_vec) else {
        return Err(lines.unexpected("`diff --git`"));
    };
    let disagree = lines.unexpected("`diff --git a/NAME b/NAME` with the names of the file");
    lines.advance()?;
    let modes = read_modes(lines)?;
    let rename = if modes.kind == ChangeKind::Modified { read_rename(lines)? } else { None };
    let index = read_index(lines, &modes, rename.as_ref())?;

    let (path, renamed_from) = match rename {
        None => (same_name(&names).ok_or(disagree)?, None),
        Some(Rename { from, to, .. }) => {
            if names != [quote("a/", &from), quote("b/", &to)].join(&b' ') {
                return Err(disagree);
            }
            (to, Some(from))
        }
    };
    for name in [Some(&path), renamed_from.as_ref()].into_iter().flatten() {
        tree_path::check(name).map_err(|problem| {
            let path = name.clone().into();
            PatchError::Path { line, path, problem }
        })?;
    }
    let mode = index.as_ref().and_then(|index| index.mode);
    Ok(FileChange {
        kind: if renamed_from.is_some() { ChangeKind::Renamed } else { modes.kind },
        path: path.into(),
        renamed_from: renamed_from.map(Into::into),
        old_mode: modes.old.or(mode),
        new_mode: modes.new.or(mode),
        old_id: index.as_ref().map(|index| index.old).filter(|id| !id.is_zero()),
        new_id: index.as_ref().map(|index| index.new).filter(|id| !id.is_zero()),
        added: 0,
        removed: 0,
        binary: false,
    })
}

/// Reads `--- NAME` and `+++ NAME`, which can say nothing new.
pub(super) fn read_names<R: BufRead>(
    lines: &mut LineReader<R>,
    change: &FileChange,
) -> Result<(), PatchError> {
    let line = |mark: &str, prefix, path: Option<&[u8]>| {
        let name = path.map_or_else(|| b"/dev/null".to_vec(), |path| quote(prefix, path));
        // So that tools which know of no quotes see where the name ends.
        let tab: &[u8] = if name.contains(&b' ') { b"\t" } else { b"" };
        [mark.as_bytes(), &name, tab].concat()
    };
    let old = line("--- ", "a/", change.old_path().map(|path| path.as_bytes()));
    lines.expect(&old, "`---` with the file's old name, or `GIT binary patch`")?;
    let new = line("+++ ", "b/", change.new_path().map(|path| path.as_bytes()));
    lines.expect(&new, "`+++` with the file's new name")
}

/// The name in `a/NAME b/NAME`. Both are equally long, so the middle is the only place to split at.
fn same_name(names: &[u8]) -> Option<Vec<u8>> {
    let middle = names.len() / 2;
    let (old, rest) = names.split_at(middle);
    let new = rest.strip_prefix(b" ")?;
    let name = unquote("a/", old)?;
    (unquote("b/", new)? == name).then_some(name)
}

fn read_modes<R: BufRead>(lines: &mut LineReader<R>) -> Result<Modes, PatchError> {
    if let Some(mode) = read_mode(lines, "new file mode ")? {
        return Ok(Modes { kind: ChangeKind::Added, old: None, new: Some(mode) });
    }
    if let Some(mode) = read_mode(lines, "deleted file mode ")? {
        return Ok(Modes { kind: ChangeKind::Deleted, old: Some(mode), new: None });
    }
    let Some(old) = read_mode(lines, "old mode ")? else {
        return Ok(Modes { kind: ChangeKind::Modified, old: None, new: None });
    };
    let expected = "`new mode` with another mode of the same type";
    let is_possible = |new: &FileMode| *new != old && new.is_same_type(old);
    if lines.after("new mode ").and_then(FileMode::parse).filter(is_possible).is_none() {
        return Err(lines.unexpected(expected));
    }
    let new = read_mode(lines, "new mode ")?;
    Ok(Modes { kind: ChangeKind::Modified, old: Some(old), new })
}

fn read_mode<R: BufRead>(lines: &mut LineReader<R>, prefix: &str) -> Result<Option<FileMode>, PatchError> {
    let Some(digits) = lines.after(prefix) else { return Ok(None) };
    let Some(mode) = FileMode::parse(digits) else {
        return Err(lines.unexpected("the mode 100644, 100755, 120000 or 160000"));
    };
    lines.advance()?;
    Ok(Some(mode))
}

fn read_rename<R: BufRead>(lines: &mut LineReader<R>) -> Result<Option<Rename>, PatchError> {
    let Some(similarity) = lines.after("similarity index ") else { return Ok(None) };
    let percent = similarity.strip_suffix(b"%").and_then(decimal).filter(|percent| *percent <= 100);
    let Some(similarity_percent) = percent.and_then(|percent| u8::try_from(percent).ok()) else {
        return Err(lines.unexpected("`similarity index` with 0 to 100 per cent"));
    };
    lines.advance()?;
    let Some(from) = lines.after("rename from ").and_then(|text| unquote("", text)) else {
        return Err(lines.unexpected("`rename from` with a name"));
    };
    lines.advance()?;
    let to = lines.after("rename to ").and_then(|text| unquote("", text));
    let Some(to) = to.filter(|to| *to != from) else {
        return Err(lines.unexpected("`rename to` with another name"));
    };
    lines.advance()?;
    Ok(Some(Rename { from, to, similarity_percent }))
}

/// Reads `index OLD..NEW MODE`, which is there exactly if the content changes.
fn read_index<R: BufRead>(
    lines: &mut LineReader<R>,
    modes: &Modes,
    rename: Option<&Rename>,
) -> Result<Option<Index>, PatchError> {
    let Some(text) = lines.after("index ") else {
        let has_said_enough = match (modes.kind, rename) {
            (ChangeKind::Added | ChangeKind::Deleted, _) => false,
            (_, Some(rename)) => rename.similarity_percent == 100,
            (_, None) => modes.old.is_some(),
        };
        if has_said_enough {
            return Ok(None);
        }
        return Err(lines.unexpected("a header line of `git diff-tree --full-index -M`, in its place"));
    };
    let Some(index) = parse_index(text, modes) else {
        return Err(lines.unexpected("`index` with both full ids, and the mode if it stays the same"));
    };
    lines.advance()?;
    Ok(Some(index))
}

fn parse_index(text: &[u8], modes: &Modes) -> Option<Index> {
    let (ids, mode) = match text.iter().position(|byte| *byte == b' ') {
        Some(space) => (&text[..space], Some(FileMode::parse(&text[space + 1..])?)),
        None => (text, None),
    };
    let middle = ids.len() / 2;
    let old = BlobId::parse(&ids[..middle.checked_sub(1)?])?;
    let new = BlobId::parse(ids[middle - 1..].strip_prefix(b"..")?)?;
    let is_possible = old != new
        && old.is_sha256() == new.is_sha256()
        && old.is_zero() == (modes.kind == ChangeKind::Added)
        && new.is_zero() == (modes.kind == ChangeKind::Deleted)
        && mode.is_none() == (modes.old.is_some() || modes.new.is_some());
    is_possible.then_some(Index { old, new, mode })
}

/// Digits as git prints a number: without sign and without leading zeros. No number in a patch comes near the
/// limit.
pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    let is_number = matches!(digits, [b'0'] | [b'1'..=b'9', ..])
        && digits.len() <= 15
        && digits.iter().all(u8::is_ascii_digit);
    is_number.then(|| digits.iter().fold(0, |value, digit| value * 10 + u64::from(digit - b'0')))
}
