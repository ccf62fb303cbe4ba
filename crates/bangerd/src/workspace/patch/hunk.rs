//! Hunks: lines of text, counted by the header of each hunk.

use std::io::BufRead;

use super::header::decimal;
use super::lines::LineReader;
use super::{FileChange, LineKind, PatchError, PatchEvents};

const NO_NEWLINE: &[u8] = br"\ No newline at end of file";

/// A line longer than this cannot be the header of a hunk: git shows 80 bytes of the function it is in.
const MAX_HEADER_BYTES: usize = 512;

/// The lines of one side that a hunk covers.
#[derive(Clone, Copy)]
struct Range {
    start: u64,
    count: u64,
}

impl Range {
    /// Reads `START` or `START,COUNT`. A count of 1 is always left out, so there is one spelling of a range.
    fn parse(text: &[u8]) -> Option<Self> {
        let range = match text.iter().position(|byte| *byte == b',') {
            Some(comma) => {
                let count = decimal(&text[comma + 1..]).filter(|count| *count != 1)?;
                Self { start: decimal(&text[..comma])?, count }
            }
            None => Self { start: decimal(text)?, count: 1 },
        };
        (range.start > 0 || range.count == 0).then_some(range)
    }

    /// The first line, also of an empty range: git prints the line before it then.
    fn first(self) -> u64 {
        if self.count == 0 { self.start + 1 } else { self.start }
    }
}

/// What the hunks of a file came to so far.
struct Tally {
    added: u64,
    removed: u64,
    /// The first line of the old file that no hunk has covered yet.
    old_next: u64,
    /// A side has shown its last line.
    has_ended: bool,
}

/// Reads all hunks of a file and counts their lines into `change`.
pub(super) fn read<R: BufRead, E: PatchEvents>(
    lines: &mut LineReader<R>,
    change: &mut FileChange,
    events: &mut E,
) -> Result<(), PatchError> {
    let mut tally = Tally { added: 0, removed: 0, old_next: 0, has_ended: false };
    loop {
        let header = lines.whole().filter(|text| text.len() <= MAX_HEADER_BYTES).and_then(parse_header);
        let Some((old, new)) = header.filter(|(old, new)| is_in_place(&tally, change, *old, *new)) else {
            return Err(lines.unexpected("`@@ -LINES +LINES @@` with lines that follow from the hunk before"));
        };
        lines.advance()?;
        events.hunk(new.first());
        read_lines(lines, old.count, new.count, &mut tally, events)?;
        tally.old_next = old.first() + old.count;
        if !lines.current().is_some_and(|(text, _)| text.starts_with(b"@@ -")) {
            break;
        }
    }
    change.added = tally.added;
    change.removed = tally.removed;
    Ok(())
}

/// Reads `@@ -OLD +NEW @@`, after which git shows the function that the hunk is in.
fn parse_header(text: &[u8]) -> Option<(Range, Range)> {
    let mut parts = text.strip_prefix(b"@@ -")?.splitn(4, |byte| *byte == b' ');
    let old = Range::parse(parts.next()?)?;
    let new = Range::parse(parts.next()?.strip_prefix(b"+")?)?;
    (parts.next()? == b"@@").then_some((old, new))
}

/// The hunks go down the file and leave something out between them; what they add and remove moves the new
/// lines against the old ones by just that.
fn is_in_place(tally: &Tally, change: &FileChange, old: Range, new: Range) -> bool {
    let is_beside_nothing = |range: Range| range.start == 0 && range.count == 0;
    (change.old_path().is_some() || is_beside_nothing(old))
        && (change.new_path().is_some() || is_beside_nothing(new))
        && !tally.has_ended
        && old.first() > tally.old_next
        && new.first() + tally.removed == old.first() + tally.added
}

/// Reads the lines of one hunk: exactly as many of each side as its header says, and at least one change.
fn read_lines<R: BufRead, E: PatchEvents>(
    lines: &mut LineReader<R>,
    mut old_left: u64,
    mut new_left: u64,
    tally: &mut Tally,
    events: &mut E,
) -> Result<(), PatchError> {
    let changed_before = tally.added + tally.removed;
    while old_left > 0 || new_left > 0 {
        let line = lines.current().and_then(|(text, is_cut)| Some((text.split_first()?, is_cut)));
        let (kind, text, is_cut) = match line {
            Some(((b' ', text), is_cut)) if old_left > 0 && new_left > 0 => (LineKind::Context, text, is_cut),
            Some(((b'-', text), is_cut)) if old_left > 0 => (LineKind::Removed, text, is_cut),
            Some(((b'+', text), is_cut)) if new_left > 0 => (LineKind::Added, text, is_cut),
            _ => return Err(lines.unexpected("another line of the hunk, as its header counts them")),
        };
        old_left -= u64::from(kind != LineKind::Added);
        new_left -= u64::from(kind != LineKind::Removed);
        tally.added += u64::from(kind == LineKind::Added);
        tally.removed += u64::from(kind == LineKind::Removed);
        events.line(kind, text, is_cut);
        lines.advance()?;
        if lines.whole() == Some(NO_NEWLINE) {
            // Before the end of its side it would glue two lines together that were looked at one by one.
            let has_more = match kind {
                LineKind::Context => old_left > 0 || new_left > 0,
                LineKind::Removed => old_left > 0,
                LineKind::Added => new_left > 0,
            };
            if has_more {
                return Err(lines.unexpected("another line of the hunk, as its header counts them"));
            }
            tally.has_ended = true;
            events.no_newline(kind);
            lines.advance()?;
        }
    }
    if tally.added + tally.removed == changed_before {
        return Err(lines.unexpected("an added or removed line in the hunk before"));
    }
    Ok(())
}
