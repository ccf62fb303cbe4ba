use banger_api::files::{FileKind, Unpack};

use super::{CopyError, GuestPath, Source};

/// How a local source arrives in a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Arrangement {
    pub(crate) unpack: Unpack,
    /// What the source is called there; nothing when it is the directory that it is unpacked into.
    pub(crate) name: Vec<u8>,
    /// Its contents go into a directory that is there, and keeps its own mode and time.
    pub(crate) without_itself: bool,
}

/// Decides under which name `source` arrives at `to`, where `found` is now. As `docker cp` does it.
///
/// # Errors
///
/// When the two do not go together.
pub(crate) fn arrange(
    source: &Source,
    to: &GuestPath,
    found: Option<FileKind>,
) -> Result<Arrangement, CopyError> {
    let path = || {
        use std::os::unix::ffi::OsStringExt as _;
        std::ffi::OsString::from_vec(to.path.clone()).into()
    };
    let into = |dir: &[u8], create, name: &[u8], without_itself| Arrangement {
        unpack: Unpack { dir: dir.to_vec().into(), create },
        name: name.to_vec(),
        without_itself,
    };
    match (found, to.name()) {
        (Some(FileKind::Directory), _) if source.is_contents => Ok(into(&to.path, false, b"", true)),
        (Some(FileKind::Directory), _) => Ok(into(&to.path, false, &source.name, false)),
        (Some(FileKind::File), Some(name)) if !source.is_dir => Ok(into(to.parent(), false, name, false)),
        (Some(_), _) => Err(CopyError::InTheWay { path: path() }),
        (None, Some(_)) if source.is_dir => Ok(into(&to.path, true, b"", false)),
        (None, Some(name)) if !to.ends_with_slash() => Ok(into(to.parent(), false, name, false)),
        (None, _) => Err(CopyError::NotFound { path: path() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: (bool, bool) = (false, false);
    const DIR: (bool, bool) = (true, false);
    const CONTENTS: (bool, bool) = (true, true);

    fn arranged((is_dir, is_contents): (bool, bool), to: &str, found: Option<FileKind>) -> String {
        let name = if is_contents { "" } else { "src" };
        let source = Source { path: "src".into(), is_contents, is_dir, name: name.into(), follow: false };
        let to = GuestPath { vm: "x".into(), path: to.into() };
        match arrange(&source, &to, found) {
            Ok(Arrangement { unpack, name, without_itself }) => format!(
                "{}{} <- {}{}",
                unpack.dir.as_os_str().display(),
                if unpack.create { " (new)" } else { "" },
                String::from_utf8(name).unwrap(),
                if without_itself { "*" } else { "" },
            ),
            Err(CopyError::NotFound { .. }) => "not found".into(),
            Err(CopyError::InTheWay { .. }) => "in the way".into(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn it_is_as_with_docker_cp() {
        let (file, dir, other) = (Some(FileKind::File), Some(FileKind::Directory), Some(FileKind::Other));
        for (source, to, found, expected) in [
            (FILE, "/a/b", dir, "/a/b <- src"),
            (FILE, "/a/b/", dir, "/a/b/ <- src"),
            (FILE, "/a/b", file, "/a <- b"),
            (FILE, "/a/b", None, "/a <- b"),
            (FILE, "/b", None, "/ <- b"),
            (FILE, "/a/b/", None, "not found"),
            (FILE, "/a/b/.", None, "not found"),
            (FILE, "/dev/null", other, "in the way"),
            (DIR, "/a/b", dir, "/a/b <- src"),
            (DIR, "/", dir, "/ <- src"),
            (DIR, "/a/..", dir, "/a/.. <- src"),
            (DIR, "/a/b", file, "in the way"),
            (DIR, "/a/b", None, "/a/b (new) <- "),
            (DIR, "/a/b/", None, "/a/b/ (new) <- "),
            (CONTENTS, "/a/b", dir, "/a/b <- *"),
            (CONTENTS, "/a/b", file, "in the way"),
            (CONTENTS, "/a/b", None, "/a/b (new) <- "),
        ] {
            assert_eq!(arranged(source, to, found), expected, "{source:?} {to} {found:?}");
        }
    }
}
