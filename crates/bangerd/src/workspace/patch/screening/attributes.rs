//! Lines of `.gitattributes`.

/// Drivers that git has itself, and that run nothing unless the user's configuration adds a program to one.
const BUILT_IN_DIFFS: &[&str] = &[
    "ada", "bash", "bibtex", "cpp", "csharp", "css", "dts", "elixir", "fortran", "fountain", "golang",
    "html", "ini", "java", "kotlin", "markdown", "matlab", "objc", "pascal", "perl", "php", "python", "r",
    "ruby", "rust", "scheme", "tex",
];
const BUILT_IN_MERGES: &[&str] = &["binary", "text", "union"];

/// Whether the line gives files a driver of the user's configuration, has them written otherwise than the patch shows, or may do
/// either under another name (a macro).
pub(super) fn is_risky(line: &[u8]) -> bool {
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let defines_macro = |word: &[u8]| word.windows(6).any(|part| part.eq_ignore_ascii_case(b"[attr]"));
    if words.clone().next().is_some_and(defines_macro) {
        return true;
    }
    words.any(|word| {
        let Some(equals) = word.iter().position(|byte| *byte == b'=') else { return false };
        let (attribute, value) = (word[..equals].to_ascii_lowercase(), &word[equals + 1..]);
        let is_of = |known: &[&str]| known.iter().any(|known| value == known.as_bytes());
        match attribute.as_slice() {
            b"filter" | b"working-tree-encoding" => true,
            b"diff" => !is_of(BUILT_IN_DIFFS),
            b"merge" => !is_of(BUILT_IN_MERGES),
            _ => false,
        }
    })
}
