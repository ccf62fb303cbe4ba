//! Names as the most forgiving file systems see them: without case (macOS, Windows), without trailing dots
//! and spaces (Windows), without certain invisible characters (HFS+).

/// Characters that HFS+ ignores when it compares names.
fn is_ignored_by_hfs(character: char) -> bool {
    matches!(
        character,
        '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}'
    )
}

/// Equal for names that may be the same file somewhere. `\` counts as `/`, as on Windows. Unicode's normal
/// forms are not made equal: that takes its tables, and every name that a program acts on is ASCII.
pub(super) fn fold(path: &[u8]) -> Vec<u8> {
    let mut folded = Vec::with_capacity(path.len());
    if path.is_ascii() {
        folded.extend(path.iter().map(u8::to_ascii_lowercase));
    } else {
        for chunk in path.utf8_chunks() {
            for character in chunk.valid().chars().filter(|character| !is_ignored_by_hfs(*character)) {
                // By way of upper case, because some small letters share one: a long s folds to an s.
                for small in character.to_uppercase().flat_map(char::to_lowercase) {
                    folded.extend_from_slice(small.encode_utf8(&mut [0; 4]).as_bytes());
                }
            }
            folded.extend_from_slice(chunk.invalid());
        }
    }
    let mut trimmed = Vec::with_capacity(folded.len());
    for (index, component) in folded.split(|byte| matches!(byte, b'/' | b'\\')).enumerate() {
        if index > 0 {
            trimmed.push(b'/');
        }
        trimmed.extend_from_slice(trim_for_windows(component));
    }
    trimmed
}

/// Cuts what Windows does not take for a part of the name: the name of a stream, dots and spaces at the end.
fn trim_for_windows(component: &[u8]) -> &[u8] {
    let stream = component.iter().position(|byte| *byte == b':');
    let name = match stream {
        Some(colon) if component[colon..].contains(&b'$') => &component[..colon],
        _ => component,
    };
    let trailing = name.iter().rev().take_while(|byte| matches!(byte, b'.' | b' ')).count();
    match name.len() - trailing {
        0 => component,
        length => &name[..length],
    }
}

/// What git, or a file system on its behalf, may take for `.git`. The component is folded.
pub(super) fn is_git_directory(component: &[u8]) -> bool {
    let name = component.split(|byte| *byte == b':').next().unwrap_or_default();
    let name = name.trim_ascii_end();
    let short_name = name.strip_prefix(b"git~");
    name == b".git" || short_name.is_some_and(|digits| digits.iter().all(u8::is_ascii_digit))
}

/// Control characters, and those that show a name in another order than it has.
pub(super) fn hides_itself(path: &[u8]) -> bool {
    let is_hiding = |character: char| character.is_control() || is_bidi_control(character);
    path.utf8_chunks().any(|chunk| chunk.valid().chars().any(is_hiding))
}

fn is_bidi_control(character: char) -> bool {
    matches!(
        character,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{61c}'
    )
}

/// The last component.
pub(super) fn file_name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

/// All directories that a path is in, the outermost first.
pub(super) fn directories(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    slashes.map(|(slash, _)| &path[..slash])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_what_file_systems_fold() {
        for (name, folded) in [
            ("A/B.c", "a/b.c"),
            ("a. ./b", "a/b"),
            (".g\u{200c}it", ".git"),
            (".GIT::$INDEX_ALLOCATION", ".git"),
            ("x:y", "x:y"),
            ("a\\b", "a/b"),
            (".v\u{17f}code", ".vscode"),
            (".hus\u{212a}y", ".husky"),
            ("\u{c4}", "\u{e4}"),
            ("stra\u{df}e", "strasse"),
            ("...", "..."),
        ] {
            assert_eq!(fold(name.as_bytes()), folded.as_bytes(), "{name}");
        }
        assert_eq!(fold(b"A\xffB"), b"a\xffb");
    }

    #[test]
    fn knows_git_directories() {
        for name in
            [".git", ".GIT", "git~1", ".git.", ".git .", ".git:x", ".git::$INDEX_ALLOCATION", ".gi\u{200d}t"]
        {
            assert!(is_git_directory(&fold(name.as_bytes())), "{name}");
        }
        for name in ["git", ".gitignore", ".github", "git~x", "x.git", ".git-x"] {
            assert!(!is_git_directory(&fold(name.as_bytes())), "{name}");
        }
    }

    #[test]
    fn a_path_has_its_directories() {
        assert_eq!(directories(b"a/b/c").collect::<Vec<_>>(), [b"a".as_slice(), b"a/b"]);
        assert_eq!(directories(b"a").count(), 0);
        assert_eq!((file_name(b"a/b"), file_name(b"a")), (b"b".as_slice(), b"a".as_slice()));
    }
}
