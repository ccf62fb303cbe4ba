use std::fmt;

/// The longest path that Linux takes.
const MAX_PATH_BYTES: usize = 4096;

/// Why a name in a patch can be no path in a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathProblem {
    Absolute,
    EmptyComponent,
    DotComponent,
    Nul,
    TooLong,
}

impl fmt::Display for PathProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absolute => "is absolute",
            Self::EmptyComponent => "has an empty part",
            Self::DotComponent => "has `.` or `..` as a part",
            Self::Nul => "has a zero byte",
            Self::TooLong => "is longer than 4096 bytes",
        })
    }
}

/// A path in a tree names a file below the root of the tree, in one way.
pub(super) fn check(path: &[u8]) -> Result<(), PathProblem> {
    if path.len() > MAX_PATH_BYTES {
        return Err(PathProblem::TooLong);
    }
    if path.contains(&0) {
        return Err(PathProblem::Nul);
    }
    if path.starts_with(b"/") {
        return Err(PathProblem::Absolute);
    }
    for component in path.split(|byte| *byte == b'/') {
        match component {
            b"" => return Err(PathProblem::EmptyComponent),
            b"." | b".." => return Err(PathProblem::DotComponent),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_below_the_root_pass() {
        for path in [b"a".as_slice(), b"a/b", b"...", b"a/..b/.c", b" ", b"a\\b", b"\xff"] {
            assert_eq!(check(path), Ok(()), "{}", path.escape_ascii());
        }
        for (path, problem) in [
            (b"".as_slice(), PathProblem::EmptyComponent),
            (b"/a", PathProblem::Absolute),
            (b"a//b", PathProblem::EmptyComponent),
            (b"a/", PathProblem::EmptyComponent),
            (b".", PathProblem::DotComponent),
            (b"a/../b", PathProblem::DotComponent),
            (b"a/.", PathProblem::DotComponent),
            (b"a\0b", PathProblem::Nul),
        ] {
            assert_eq!(check(path), Err(problem), "{}", path.escape_ascii());
        }
        assert_eq!(check(&[b'a'; 4096]), Ok(()));
        assert_eq!(check(&[b'a'; 4097]), Err(PathProblem::TooLong));
    }
}
