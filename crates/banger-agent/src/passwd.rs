//! `/etc/passwd`, read by hand: a static program has no `getpwnam`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// Root's home directory and login shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootAccount {
    pub home: PathBuf,
    /// None when the file names none.
    pub shell: Option<PathBuf>,
}

impl Default for RootAccount {
    fn default() -> Self {
        Self { home: PathBuf::from("/root"), shell: None }
    }
}

/// Reads root's account from `/etc/passwd`; what is missing there is filled with what every system has.
pub fn root_account() -> RootAccount {
    // See above.
    std::fs::read("/etc/passwd").map(|bytes| parse_root(&bytes)).unwrap_or_default()
}

/// Finds `root`, or else the first account with uid 0. Lines that make no sense are skipped.
pub fn parse_root(passwd: &[u8]) -> RootAccount {
    let superusers = || {
        passwd.split(|byte| *byte == b'\n').filter_map(|line| {
            let fields: Vec<&[u8]> = line.split(|byte| *byte == b':').collect();
            (fields.len() >= 6 && fields[2] == b"0").then_some(fields)
        })
    };
    let Some(fields) = superusers().find(|fields| fields[0] == b"root").or_else(|| superusers().next())
    else {
        return RootAccount::default();
    };
    let absolute = |field: Option<&&[u8]>| {
        let path = PathBuf::from(OsString::from_vec(field?.to_vec()));
        // A NUL can stand in the file, but in no path.
        (path.has_root() && !field?.contains(&0)).then_some(path)
    };
    RootAccount {
        home: absolute(fields.get(5)).unwrap_or_else(|| RootAccount::default().home),
        shell: absolute(fields.get(6)).filter(|shell| shell != Path::new("/")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn roots_line_is_found() {
        let account = parse_root(b"toor:x:0:0::/other:/bin/zsh\nroot:x:0:0:root:/root:/bin/ash\n");
        assert_eq!(account, RootAccount { home: "/root".into(), shell: Some("/bin/ash".into()) });
    }

    #[test]
    fn another_superuser_stands_in_for_root() {
        assert_eq!(parse_root(b"admin:x:0:0::/home/a:/bin/sh").home, Path::new("/home/a"));
    }

    #[test]
    fn nonsense_gives_the_defaults() {
        for text in
            [&b""[..], b"root", b"root:x:0:0", b"root:x:1:0::/x:/y", b"root:x:0:0::relative:sh", b"::::::"]
        {
            assert_eq!(parse_root(text), RootAccount::default(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_give_absolute_paths(bytes in proptest::collection::vec(
            prop_oneof![Just(b':'), Just(b'\n'), Just(b'0'), Just(b'/'), any::<u8>()], 0..200)) {
            let account = parse_root(&bytes);
            prop_assert!(account.home.is_absolute());
            prop_assert!(account.shell.is_none_or(|shell| shell.is_absolute()));
        }
    }
}
