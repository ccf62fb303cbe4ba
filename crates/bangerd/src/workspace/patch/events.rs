use super::FileChange;

/// Which side of the change a line of a hunk is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineKind {
    Context,
    Added,
    Removed,
}

/// Who hears what is in a patch while it is read: the content goes by once and is kept nowhere.
///
/// If the patch turns out to be refused, what was heard before is worth nothing.
pub trait PatchEvents {
    /// A file begins. Its counts of lines are still 0; all else is known.
    fn file(&mut self, _change: &FileChange) {}

    /// A hunk begins at this line of the new file, counted from 1.
    fn hunk(&mut self, _new_start: u64) {}

    /// A line of a hunk, without its mark and its newline. If it `is_cut`, this is only the beginning of it.
    fn line(&mut self, _kind: LineKind, _text: &[u8], _is_cut: bool) {}

    /// What was sent as binary is text; its lines follow, as added ones.
    fn text_in_binary(&mut self) {}

    /// The line before this has no newline, and is the last of its side.
    fn no_newline(&mut self, _kind: LineKind) {}

    /// The file is complete.
    fn end(&mut self, _change: &FileChange) {}
}

/// Hears nothing.
impl PatchEvents for () {}
