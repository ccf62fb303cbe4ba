use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

/// Where relative paths in a guest begin.
const GUEST_HOME: &[u8] = b"/root/";

/// One side of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Guest(GuestPath),
    Host(PathBuf),
    /// `-`: an archive on stdin or stdout.
    Stream,
}

/// A path in a VM. Absolute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GuestPath {
    pub(crate) vm: String,
    pub(crate) path: Vec<u8>,
}

impl Place {
    /// `REF:PATH`, `-` or a local path. What begins with `/` or `.` is local, whatever it contains.
    pub(crate) fn parse(word: &OsStr) -> Self {
        let bytes = word.as_bytes();
        if bytes == b"-" {
            return Self::Stream;
        }
        let local = || Self::Host(word.into());
        if bytes.starts_with(b"/") || bytes.starts_with(b".") {
            return local();
        }
        let Some(colon) = bytes.iter().position(|byte| *byte == b':') else { return local() };
        let Ok(vm) = std::str::from_utf8(&bytes[..colon]) else { return local() };
        let path = &bytes[colon + 1..];
        let home: &[u8] = if path.starts_with(b"/") { b"" } else { GUEST_HOME };
        Self::Guest(GuestPath { vm: vm.to_owned(), path: [home, path].concat() })
    }
}

impl GuestPath {
    /// Its last part; none where that names nothing: `/`, `.`, `..`.
    pub(crate) fn name(&self) -> Option<&[u8]> {
        let name = self.trimmed().rsplit(|byte| *byte == b'/').next()?;
        (![&b""[..], b".", b".."].contains(&name)).then_some(name)
    }

    /// Everything but the last part.
    pub(crate) fn parent(&self) -> &[u8] {
        let trimmed = self.trimmed();
        let slash = trimmed.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        if slash == 0 { b"/" } else { &trimmed[..slash] }
    }

    /// Says its spelling that it must be a directory?
    pub(crate) fn ends_with_slash(&self) -> bool {
        self.path.ends_with(b"/") || self.path.ends_with(b"/.")
    }

    /// `dir/.`, or `/`: what is in a directory.
    pub(crate) fn is_contents(&self) -> bool {
        self.path.ends_with(b"/.") || self.trimmed().is_empty() || self.trimmed().ends_with(b"/.")
    }

    fn trimmed(&self) -> &[u8] {
        let end = self.path.iter().rposition(|byte| *byte != b'/').map_or(0, |at| at + 1);
        &self.path[..end]
    }
}

impl std::fmt::Display for GuestPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.vm, crate::ui::file_name(OsString::from_vec(self.path.clone())))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn guest(path: &str) -> GuestPath {
        GuestPath { vm: "x".into(), path: path.into() }
    }

    #[test]
    fn sides_are_told_apart() {
        for (word, place) in [
            ("x:/etc/hosts", Place::Guest(guest("/etc/hosts"))),
            ("x:src", Place::Guest(guest("/root/src"))),
            ("x:", Place::Guest(guest("/root/"))),
            ("x:a:b", Place::Guest(guest("/root/a:b"))),
            ("a", Place::Host("a".into())),
            ("./a:b", Place::Host("./a:b".into())),
            ("/a:b", Place::Host("/a:b".into())),
            ("..", Place::Host("..".into())),
            ("-", Place::Stream),
        ] {
            assert_eq!(Place::parse(OsStr::new(word)), place, "{word}");
        }
        let odd = Place::parse(OsStr::from_bytes(b"x:\xff"));
        assert_eq!(odd, Place::Guest(GuestPath { vm: "x".into(), path: b"/root/\xff".to_vec() }));
    }

    #[test]
    fn guest_paths_have_parts() {
        for (path, name, parent) in [
            ("/a/b", Some("b"), "/a"),
            ("/a/b//", Some("b"), "/a"),
            ("/a", Some("a"), "/"),
            ("/", None, "/"),
            ("/a/..", None, "/a"),
            ("/a/.", None, "/a"),
        ] {
            assert_eq!(guest(path).name(), name.map(str::as_bytes), "{path}");
            assert_eq!(guest(path).parent(), parent.as_bytes(), "{path}");
        }
        for (path, contents) in [("/a/.", true), ("/", true), ("/a/./", true), ("/a/", false), ("/a.", false)]
        {
            assert_eq!(guest(path).is_contents(), contents, "{path}");
        }
    }

    proptest! {
        #[test]
        fn guest_paths_are_absolute(word: Vec<u8>) {
            if let Place::Guest(at) = Place::parse(OsStr::from_bytes(&word)) {
                prop_assert!(at.path.starts_with(b"/") && at.parent().starts_with(b"/"));
            }
        }
    }
}
