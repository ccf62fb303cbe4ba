use std::path::PathBuf;

use rustix::fs::{Access, AtFlags, CWD, accessat};

use super::{CopyError, Source};

/// How many names of unreadable or skipped files are told; a long list is not read.
const NAMED: usize = 10;

/// What there is to send.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Survey {
    /// What all files contain.
    pub(crate) bytes: u64,
    /// Sockets, FIFOs and devices, which stay behind: some of them, and how many more there are.
    pub(crate) skipped: (Vec<PathBuf>, usize),
}

/// Looks at everything, so that what cannot be read is known before anything is sent.
///
/// # Errors
///
/// When something cannot be read.
pub(crate) fn survey(source: &Source) -> Result<Survey, CopyError> {
    let mut survey = Survey::default();
    let (mut unreadable, mut more) = (Vec::new(), 0);
    for found in source.walk(b"") {
        let (path, readable) = match found {
            Ok(found) if found.metadata.is_file() => {
                survey.bytes += found.metadata.len();
                let readable = accessat(CWD, &found.path, Access::READ_OK, AtFlags::EACCESS).is_ok();
                (found.path, readable)
            }
            Ok(found) if found.metadata.is_dir() || found.metadata.is_symlink() => continue,
            Ok(found) => {
                push(&mut survey.skipped.0, &mut survey.skipped.1, found.path);
                continue;
            }
            Err(CopyError::Io { path, source, .. })
                if source.kind() == std::io::ErrorKind::PermissionDenied =>
            {
                (path, false)
            }
            Err(error) => return Err(error),
        };
        if !readable {
            push(&mut unreadable, &mut more, path);
        }
    }
    if unreadable.is_empty() { Ok(survey) } else { Err(CopyError::Unreadable { paths: unreadable, more }) }
}

fn push(names: &mut Vec<PathBuf>, more: &mut usize, name: PathBuf) {
    if names.len() < NAMED { names.push(name) } else { *more += 1 }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn bytes_are_counted_and_odd_things_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("d")).unwrap();
        fs::write(dir.path().join("d/a"), "123").unwrap();
        fs::write(dir.path().join("b"), "45").unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("d/socket")).unwrap();
        let survey = survey(&Source::find(dir.path()).unwrap()).unwrap();
        assert_eq!(survey, Survey { bytes: 5, skipped: (vec![dir.path().join("d/socket")], 0) });
    }
}
