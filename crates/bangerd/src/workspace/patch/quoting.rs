//! Names as git prints them in a patch: plain, or in double quotes with C escapes if a byte of them asks for
//! it.

/// The letters that git uses for control characters; the others become three octal digits.
const LETTERS: &[(u8, u8)] = &[
    (0x07, b'a'),
    (0x08, b'b'),
    (b'\t', b't'),
    (b'\n', b'n'),
    (0x0b, b'v'),
    (0x0c, b'f'),
    (b'\r', b'r'),
    (b'"', b'"'),
    (b'\\', b'\\'),
];

/// As git does with `core.quotePath`, its default: everything but printable ASCII is escaped.
fn must_escape(byte: u8) -> bool {
    !(0x20..0x7f).contains(&byte) || byte == b'"' || byte == b'\\'
}

/// `prefix` and `name` as git prints them together.
pub(super) fn quote(prefix: &str, name: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(prefix.len() + name.len() + 2);
    if !name.iter().copied().any(must_escape) {
        text.extend_from_slice(prefix.as_bytes());
        text.extend_from_slice(name);
        return text;
    }
    text.push(b'"');
    text.extend_from_slice(prefix.as_bytes());
    for &byte in name {
        match LETTERS.iter().find(|(escaped, _)| *escaped == byte) {
            Some((_, letter)) => text.extend([b'\\', *letter]),
            None if must_escape(byte) => {
                text.extend([b'\\', b'0' + (byte >> 6), b'0' + (byte >> 3 & 7), b'0' + (byte & 7)]);
            }
            None => text.push(byte),
        }
    }
    text.push(b'"');
    text
}

/// The name that git prints as `text`, after `prefix`. `None` if git would print no name so: there is one
/// spelling of a name, and with it one reading.
pub(super) fn unquote(prefix: &str, text: &[u8]) -> Option<Vec<u8>> {
    let unescaped = match text.strip_prefix(b"\"") {
        Some(rest) => unescape(rest.strip_suffix(b"\"")?)?,
        None => text.to_vec(),
    };
    let name = unescaped.strip_prefix(prefix.as_bytes())?.to_vec();
    (quote(prefix, &name) == text).then_some(name)
}

fn unescape(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = text.iter().copied();
    let mut name = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            name.push(byte);
            continue;
        }
        let letter = bytes.next()?;
        if let Some((escaped, _)) = LETTERS.iter().find(|(_, known)| *known == letter) {
            name.push(*escaped);
            continue;
        }
        let mut value = 0;
        for digit in [letter, bytes.next()?, bytes.next()?] {
            let digit = matches!(digit, b'0'..=b'7').then(|| u32::from(digit - b'0'))?;
            value = value << 3 | digit;
        }
        name.push(u8::try_from(value).ok()?);
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quotes_as_git_does() {
        for (name, text) in [
            (b"plain name".as_slice(), r"a/plain name"),
            (b"tab\there", r#""a/tab\there""#),
            (b"say \"hi\" \\ now", r#""a/say \"hi\" \\ now""#),
            (b"\x01\x7f\xff\xc3\xa4\n\r", r#""a/\001\177\377\303\244\n\r""#),
        ] {
            assert_eq!(quote("a/", name), text.as_bytes(), "{text}");
            assert_eq!(unquote("a/", text.as_bytes()).as_deref(), Some(name), "{text}");
        }
    }

    #[test]
    fn refuses_other_spellings() {
        for text in [
            r#""a/plain""#,
            r#""a/\141b\n""#,
            r#""a/x\n"#,
            r#""a/x\n"y""#,
            r#""a/\x41""#,
            r#""a/\400""#,
            r#""a/\01""#,
            r#""a/\""#,
            r#"a/"x"#,
            r"a/x\y",
            "a/\u{e4}",
            "a/x\ty",
            "b/x",
            "x",
            "\"",
        ] {
            assert_eq!(unquote("a/", text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_name_comes_back(name: Vec<u8>) {
            prop_assert_eq!(unquote("b/", &quote("b/", &name)), Some(name));
        }

        #[test]
        fn a_text_has_one_name_and_a_name_one_text(text in r#""?a/[\\"0-7na/ \t]{0,12}"?"#) {
            if let Some(name) = unquote("a/", text.as_bytes()) {
                prop_assert_eq!(quote("a/", &name), text.as_bytes());
            }
        }
    }
}
