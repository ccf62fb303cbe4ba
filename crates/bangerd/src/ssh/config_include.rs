//! The one line in the user's SSH configuration that is banger's: where it goes, and how it comes out again.
//! Bytes to bytes, no files.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::SshError;

/// The line that includes `config`, without its end.
///
/// ssh takes the path for a pattern (glob(7)), and its versions differ in what else they make of it (`%h`,
/// `${HOME}`, backslashes). A `?` stands for any one character in all of them.
///
/// # Errors
///
/// When the path has a newline in it.
pub fn line(config: &Path) -> Result<Vec<u8>, SshError> {
    let path = config.as_os_str().as_bytes();
    if path.contains(&b'\n') || path.contains(&b'\r') {
        return Err(SshError::Unspeakable { path: config.into() });
    }
    let spelled = path.iter().map(|byte| if b"*?[]{}\\\"'%$#".contains(byte) { b'?' } else { *byte });
    Ok([&b"Include \""[..], &spelled.collect::<Vec<u8>>(), b"\""].concat())
}

/// Puts the line at the top: below a `Host` or `Match` it would count for those alone. None when it is there
/// already, wherever that is.
pub fn install(text: &[u8], line: &[u8]) -> Option<Vec<u8>> {
    (!is_installed(text, line)).then(|| [line, b"\n", text].concat())
}

/// Takes the line out, wherever it is by now. None when it is not there.
pub fn uninstall(text: &[u8], line: &[u8]) -> Option<Vec<u8>> {
    let kept = text.split_inclusive(|byte| *byte == b'\n').filter(|found| found.trim_ascii() != line);
    is_installed(text, line).then(|| kept.collect::<Vec<_>>().concat())
}

pub fn is_installed(text: &[u8], line: &[u8]) -> bool {
    text.split(|byte| *byte == b'\n').any(|found| found.trim_ascii() == line)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LINE: &[u8] = b"Include \"/s/banger/ssh/config\"";

    #[test]
    fn odd_paths_are_spelled_for_every_ssh() {
        let spelled = |path: &str| String::from_utf8(line(Path::new(path)).unwrap()).unwrap();
        assert_eq!(spelled("/a b/c"), "Include \"/a b/c\"");
        assert_eq!(spelled("/50%/a\"b'[x]*${Y}\\/ä"), "Include \"/50?/a?b??x????Y??/ä\"");
        assert!(line(Path::new("/a\nb")).is_err());
    }

    #[test]
    fn the_line_comes_out_wherever_it_went() {
        let moved = b"# mine\r\nHost x\r\n  Include \"/s/banger/ssh/config\"\r\n  User y";
        assert_eq!(install(moved, LINE), None);
        assert_eq!(uninstall(moved, LINE).unwrap(), b"# mine\r\nHost x\r\n  User y");
        assert_eq!(uninstall(b"Include /s/banger/ssh/config\n", LINE), None, "somebody else's");
        let other: &[u8] = b"Include \"/t/banger/ssh/config\"";
        let both = install(&install(b"x", LINE).unwrap(), other).unwrap();
        assert_eq!(uninstall(&both, LINE).unwrap(), b"Include \"/t/banger/ssh/config\"\nx");
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        let line = prop_oneof![
            Just(b"Host *\r\n".to_vec()),
            Just(b"Match final\n".to_vec()),
            Just(b"\n".to_vec()),
            Just(b"Include \"/s/banger/ssh/config\"x\n".to_vec()),
            proptest::collection::vec(any::<u8>(), 0..20),
        ];
        proptest::collection::vec(line, 0..8).prop_map(|lines| lines.concat())
    }

    proptest! {
        #[test]
        fn what_is_installed_comes_out_and_leaves_every_byte(text in text()) {
            prop_assume!(!is_installed(&text, LINE));
            let installed = install(&text, LINE).unwrap();
            prop_assert!(installed.starts_with(LINE));
            prop_assert_eq!(install(&installed, LINE), None);
            prop_assert_eq!(uninstall(&installed, LINE).unwrap(), text.clone());
            prop_assert_eq!(uninstall(&text, LINE), None);
        }
    }
}
