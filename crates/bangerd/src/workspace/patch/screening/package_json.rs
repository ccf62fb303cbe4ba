//! A `package.json`, read as JSON: a patch shows a part of it, and the host has the rest.

use banger_guest_protocol::ByteString;
use serde_json::{Map, Value};

use crate::workspace::patch::{FileChange, LineKind};

/// Scripts that npm, pnpm or yarn run on their own.
const LIFECYCLE_SCRIPTS: &[&str] = &[
    "preinstall",
    "install",
    "postinstall",
    "preprepare",
    "prepare",
    "postprepare",
    "prepublish",
    "prepublishOnly",
    "publish",
    "postpublish",
    "prepack",
    "postpack",
    "preuninstall",
    "uninstall",
    "postuninstall",
    "dependencies",
    "pnpm:devPreinstall",
];

/// Of a larger one only the lines are looked at, in bytes.
const MAX_LEN: usize = 4 << 20;

/// What a patch shows of one.
#[derive(Default)]
pub struct PackageJson {
    pub path: ByteString,
    /// What it was called.
    pub old_path: Option<ByteString>,
    hunks: Vec<Hunk>,
    len: usize,
    /// A line was too long, or it came as binary.
    is_partial: bool,
    /// The line before ends with a key, so that its value is to come.
    awaits_value: bool,
}

#[derive(Default)]
struct Hunk {
    /// The first line of the new file, counted from 1.
    new_start: u64,
    old: Vec<Vec<u8>>,
    new: Vec<Vec<u8>>,
}

impl PackageJson {
    pub(super) fn new(change: &FileChange) -> Self {
        let (path, old_path) = (change.path.clone(), change.old_path().cloned());
        Self { path, old_path, ..Self::default() }
    }

    pub(super) fn hunk(&mut self, new_start: u64) {
        self.hunks.push(Hunk { new_start, ..Hunk::default() });
    }

    /// Takes in a line. Says whether it looks, by itself, as if it added such a script.
    pub(super) fn see(&mut self, kind: LineKind, text: &[u8], is_cut: bool) -> bool {
        self.len += text.len();
        self.is_partial |= is_cut || self.len > MAX_LEN || self.hunks.is_empty();
        match self.hunks.last_mut().filter(|_| !self.is_partial) {
            None => self.hunks.clear(),
            Some(hunk) => {
                if kind != LineKind::Added {
                    hunk.old.push(text.to_owned());
                }
                if kind != LineKind::Removed {
                    hunk.new.push(text.to_owned());
                }
            }
        }
        if kind == LineKind::Removed {
            return false;
        }
        let ends_with_key = ends_with_key(text);
        let is_script = has_lifecycle_script(text) || ends_with_key || self.awaits_value;
        let is_hidden = is_cut || text.windows(2).any(|pair| pair == b"\\u");
        self.awaits_value = ends_with_key;
        kind == LineKind::Added && (is_script || is_hidden)
    }

    /// Whether the patch gives a file that was `old` other such scripts. None if that cannot be told.
    pub fn changes_scripts(&self, old: &[u8]) -> Option<bool> {
        let new = scripts(&self.over(old)?)?;
        // What cannot be read runs nothing.
        let old = scripts(old).unwrap_or_default();
        let is_other = |name: &str| new.get(name).is_some_and(|new| old.get(name) != Some(new));
        Some(LIFECYCLE_SCRIPTS.iter().any(|name| is_other(name)))
    }

    /// The file as the patch makes it, if `old` is what the patch starts from.
    fn over(&self, old: &[u8]) -> Option<Vec<u8>> {
        let mut old = old.split_inclusive(|byte| *byte == b'\n');
        let mut new: Vec<Vec<u8>> = Vec::new();
        for hunk in self.hunks.iter().filter(|_| !self.is_partial) {
            let before = usize::try_from(hunk.new_start.saturating_sub(1)).ok()?.checked_sub(new.len())?;
            for _ in 0..before {
                new.push(old.next()?.to_owned());
            }
            for line in &hunk.old {
                // The host may have other line ends.
                (old.next()?.trim_ascii_end() == line.trim_ascii_end()).then_some(())?;
            }
            new.extend(hunk.new.iter().map(|line| [line, &b"\n"[..]].concat()));
        }
        new.extend(old.map(<[u8]>::to_owned));
        (!self.is_partial).then(|| new.concat())
    }
}

fn scripts(content: &[u8]) -> Option<Map<String, Value>> {
    let content = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
    let parsed: Value = serde_json::from_slice(content).ok()?;
    match parsed.as_object()?.get("scripts") {
        Some(Value::Object(scripts)) => Some(scripts.clone()),
        _ => Some(Map::new()),
    }
}

/// Whether the line ends with one of the keys, with or without its colon: JSON can put the value on the next
/// line.
fn ends_with_key(line: &[u8]) -> bool {
    let line = line.trim_ascii_end();
    let line = line.strip_suffix(b":").unwrap_or(line).trim_ascii_end();
    let Some(rest) = line.strip_suffix(b"\"") else { return false };
    let Some(start) = rest.iter().rposition(|byte| *byte == b'"') else { return false };
    // After a colon it is a value.
    let is_key = matches!(rest[..start].trim_ascii_end().last(), None | Some(b'{' | b','));
    is_key && LIFECYCLE_SCRIPTS.iter().any(|script| &rest[start + 1..] == script.as_bytes())
}

/// Whether the line gives one of the keys a text. `dependencies` is the name of an object, too.
fn has_lifecycle_script(line: &[u8]) -> bool {
    let mut quotes = line.iter().enumerate().filter(|(_, byte)| **byte == b'"').map(|(place, _)| place + 1);
    quotes.any(|start| {
        let rest = &line[start..];
        let Some(end) = rest.iter().position(|byte| *byte == b'"') else { return false };
        let is_key = LIFECYCLE_SCRIPTS.iter().any(|script| &rest[..end] == script.as_bytes());
        let value = rest[end + 1..].trim_ascii_start().strip_prefix(b":").map(<[u8]>::trim_ascii_start);
        is_key && value.is_some_and(|value| value.is_empty() || value.starts_with(b"\""))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "{\n \"name\": \"x\",\n \"scripts\": {\n  \"test\": \"t\"\n }\n}\n";

    /// Shown the second line as removed and `new` in its place.
    fn shown(new: &[&str]) -> PackageJson {
        let mut shown = PackageJson::default();
        shown.hunk(1);
        shown.see(LineKind::Context, b"{", false);
        shown.see(LineKind::Removed, b" \"name\": \"x\",", false);
        for line in new {
            shown.see(LineKind::Added, line.as_bytes(), false);
        }
        shown
    }

    #[test]
    fn json_says_what_a_line_does_not() {
        for (new, expected) in [
            (&[r#" "config": {"install": "x"},"#][..], Some(false)),
            (&[r#" "text": "\u0041","#], Some(false)),
            (
                &[r#" "scripts": {"test": "t", "\u0070repare": "x"}, "old":"#, "1,", r#""x":"#, "{},"],
                Some(false),
            ),
            (&[r#" "scrip\u0074s": {"\u0070repare": "x"}}"#], None),
            (&[" no json"], None),
        ] {
            assert_eq!(shown(new).changes_scripts(OLD.as_bytes()), expected, "{new:?}");
        }
        // The last one of two counts, as for those who run it.
        let mut shown = PackageJson::default();
        shown.hunk(3);
        shown.see(LineKind::Context, br#" "scripts": {"#, false);
        shown.see(LineKind::Added, br#"  "\u0070repare""#, false);
        shown.see(LineKind::Added, b"", false);
        shown.see(LineKind::Added, br#": "x","#, false);
        assert_eq!(shown.changes_scripts(OLD.as_bytes()), Some(true));
        assert_eq!(shown.changes_scripts(OLD.replace('\n', "\r\n").as_bytes()), Some(true));
        assert_eq!(shown.changes_scripts(b"{\n\n\n}\n"), None);
    }

    #[test]
    fn a_new_file_is_shown_whole() {
        let mut shown = PackageJson::default();
        shown.hunk(1);
        assert!(shown.see(LineKind::Added, br#"{"scripts": {"prepare": "x"}}"#, false));
        assert_eq!(shown.changes_scripts(b""), Some(true));
    }
}
