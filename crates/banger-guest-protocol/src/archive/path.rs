/// Why a name in an archive is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryPathError {
    #[error("it is absolute")]
    Absolute,
    #[error("it leads upwards (`..`)")]
    Upwards,
    #[error("it contains a NUL")]
    Nul,
}

/// An archive's name for something, made safe to join to a directory: relative, no `..`, no `.`, no empty
/// part.
///
/// Symlinks on the way are another matter: those only the kernel can see.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryPath(Vec<u8>);

impl EntryPath {
    /// # Errors
    ///
    /// When the name could lead out of the directory.
    pub fn parse(name: &[u8]) -> Result<Self, EntryPathError> {
        if name.contains(&0) {
            return Err(EntryPathError::Nul);
        }
        if name.first() == Some(&b'/') {
            return Err(EntryPathError::Absolute);
        }
        let mut path = Vec::with_capacity(name.len());
        for part in name.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => {}
                b".." => return Err(EntryPathError::Upwards),
                part => {
                    if !path.is_empty() {
                        path.push(b'/');
                    }
                    path.extend_from_slice(part);
                }
            }
        }
        Ok(Self(path))
    }

    /// Takes a name as tar does, from somebody who may put things anywhere: below the directory what is
    /// absolute, and where it comes out what goes up in between.
    ///
    /// # Errors
    ///
    /// When it leads out of the directory all the same.
    pub fn parse_as_tar(name: &[u8]) -> Result<Self, EntryPathError> {
        let mut parts: Vec<&[u8]> = Vec::new();
        for part in name.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b".")) {
            match part {
                b".." => drop(parts.pop().ok_or(EntryPathError::Upwards)?),
                part => parts.push(part),
            }
        }
        Self::parse(&parts.join(&b'/'))
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The directory itself that the archive is unpacked into.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Everything but the last part.
    pub fn parent(&self) -> &[u8] {
        let end = self.0.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        &self.0[..end]
    }

    /// The last part.
    pub fn name(&self) -> &[u8] {
        let start = self.0.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
        &self.0[start..]
    }

    /// The first part.
    pub fn top(&self) -> &[u8] {
        let end = self.0.iter().position(|byte| *byte == b'/').unwrap_or(self.0.len());
        &self.0[..end]
    }

    /// Everything behind the first part.
    #[must_use]
    pub fn below_top(&self) -> Self {
        let start = self.0.iter().position(|byte| *byte == b'/').map_or(self.0.len(), |at| at + 1);
        Self(self.0[start..].to_vec())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_made_plain() {
        for (name, plain) in
            [("a", "a"), ("./a//b/./c/", "a/b/c"), (".", ""), ("", ""), ("..a/...", "..a/...")]
        {
            assert_eq!(EntryPath::parse(name.as_bytes()).unwrap().as_bytes(), plain.as_bytes(), "{name}");
        }
        let path = EntryPath::parse(b"a/b/c").unwrap();
        assert_eq!((path.top(), path.parent(), path.name()), (&b"a"[..], &b"a/b"[..], &b"c"[..]));
        assert_eq!(path.below_top().as_bytes(), b"b/c");
        let path = EntryPath::parse(b"a").unwrap();
        assert_eq!((path.top(), path.parent(), path.name()), (&b"a"[..], &b""[..], &b"a"[..]));
        assert!(path.below_top().is_root());
    }

    #[test]
    fn names_are_taken_as_tar_takes_them() {
        for (name, plain) in
            [("/etc/x", "etc/x"), ("//x", "x"), ("x/../y", "y"), ("/a/./../b/", "b"), ("a/..", "")]
        {
            assert_eq!(
                EntryPath::parse_as_tar(name.as_bytes()).unwrap().as_bytes(),
                plain.as_bytes(),
                "{name}"
            );
        }
        for name in [&b"../x"[..], b"/..", b"a/../../x"] {
            assert_eq!(EntryPath::parse_as_tar(name), Err(EntryPathError::Upwards));
        }
        assert_eq!(EntryPath::parse_as_tar(b"/a\0b"), Err(EntryPathError::Nul));
    }

    #[test]
    fn names_that_lead_out_are_refused() {
        for (name, error) in [
            (&b"../x"[..], EntryPathError::Upwards),
            (b"a/../../x", EntryPathError::Upwards),
            (b"a/..", EntryPathError::Upwards),
            (b"/etc/x", EntryPathError::Absolute),
            (b"//x", EntryPathError::Absolute),
            (b"a\0b", EntryPathError::Nul),
        ] {
            assert_eq!(EntryPath::parse(name), Err(error));
        }
    }

    proptest! {
        #[test]
        fn nothing_leads_out(name in proptest::collection::vec(
            prop_oneof![Just(b'/'), Just(b'.'), Just(0), any::<u8>()], 0..40)) {
            for path in [EntryPath::parse(&name), EntryPath::parse_as_tar(&name)].into_iter().flatten() {
                let parts: Vec<&[u8]> = path.as_bytes().split(|byte| *byte == b'/').collect();
                prop_assert!(path.is_root() || parts.iter().all(|part| ![&b""[..], b".", b".."].contains(part)));
                prop_assert_eq!(EntryPath::parse(path.as_bytes()).unwrap(), path);
            }
        }
    }
}
