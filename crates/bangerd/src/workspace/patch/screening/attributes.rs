//! Lines of `.gitattributes`.

/// Drivers that git has itself, and that run nothing unless the user's configuration adds a program to one.
const BUILT_IN_DIFFS: &[&str] = &[
    "ada", "bash", "bibtex", "cpp", "csharp", "css", "dts", "elixir", "fortran", "fountain", "golang",
    "html", "ini", "java", "kotlin", "markdown", "matlab", "objc", "pascal", "perl", "php", "python", "r",
    "ruby", "rust", "scheme", "tex",
];
const BUILT_IN_MERGES: &[&str] = &["binary", "text", "union"];

/// Attributes that stand alone and run nothing.
const KNOWN: &[&str] = &[
    "text",
    "binary",
    "ident",
    "delta",
    "crlf",
    "whitespace",
    "eol",
    "export-ignore",
    "export-subst",
    "conflict-marker-size",
    "lockable",
    "encoding",
];
const OF_SERVICES: &[&str] = &["linguist-", "gitlab-", "github-", "forgejo-", "gitea-"];

/// Whether the line gives files a driver of the user's configuration, has them written otherwise than the
/// patch shows, or may do either under another name (a macro).
pub(super) fn is_risky(line: &[u8]) -> bool {
    let words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let defines_macro = |word: &[u8]| word.windows(6).any(|part| part.eq_ignore_ascii_case(b"[attr]"));
    match words.clone().next() {
        Some(word) if defines_macro(word) => return true,
        Some([b'#', ..]) => return false,
        _ => {}
    }
    // The first one is the pattern.
    words.skip(1).any(|word| {
        let (attribute, value) = match word.iter().position(|byte| *byte == b'=') {
            Some(equals) => (word[..equals].to_ascii_lowercase(), Some(&word[equals + 1..])),
            None => (bare(word).to_ascii_lowercase(), None),
        };
        let is_of =
            |known: &[&str]| value.is_none_or(|value| known.iter().any(|known| value == known.as_bytes()));
        match attribute.as_slice() {
            // Without one, what a driver keeps secret is added as it is.
            b"filter" | b"working-tree-encoding" => true,
            b"diff" => !is_of(BUILT_IN_DIFFS),
            b"merge" => !is_of(BUILT_IN_MERGES),
            // It may be a macro of the user's, and stand for any of those.
            other => value.is_none() && is_name(other) && !is_known(other),
        }
    })
}

/// Whether the line keeps git from showing what changes in files.
pub(super) fn hides_changes(line: &[u8]) -> bool {
    let words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    words.skip(1).any(|word| matches!(word.to_ascii_lowercase().as_slice(), b"-diff" | b"binary" | b"!diff"))
}

/// An attribute without the sign that unsets it.
fn bare(word: &[u8]) -> &[u8] {
    word.strip_prefix(b"-").or_else(|| word.strip_prefix(b"!")).unwrap_or(word)
}

/// Can it be an attribute? A part of a pattern with spaces is none.
fn is_name(word: &[u8]) -> bool {
    word.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

fn is_known(attribute: &[u8]) -> bool {
    KNOWN.iter().any(|known| attribute == known.as_bytes())
        || OF_SERVICES.iter().any(|prefix| attribute.starts_with(prefix.as_bytes()))
}
