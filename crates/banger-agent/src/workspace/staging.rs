//! The place where a repository is put together, and its way to where it is to be.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use banger_guest_protocol::import::{Begin, Begun};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::WorkspaceError;
use crate::exec::command::{DEFAULT_PATH, find_program};
use crate::system_error::{Context as _, SystemError};

/// Begins the names of staging directories.
const PREFIX: &str = ".banger-import-";

/// Makes the staging directory of an import.
///
/// # Errors
///
/// When something is at the repository's place that may not be replaced, or no directory can be made beside
/// it.
pub fn begin(wanted: &Begin) -> Result<Begun, WorkspaceError> {
    let path = checked(wanted.path.as_os_str())?;
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(WorkspaceError::Path { path });
    };
    if !wanted.replace && is_occupied(&path)? {
        return Err(WorkspaceError::Occupied { path });
    }
    fs::create_dir_all(parent).context("make the directory", parent.display())?;
    remove_left_overs(parent)?;
    let mut staging_name = std::ffi::OsString::from(PREFIX);
    staging_name.push(name);
    let staging = parent.join(staging_name);
    fs::create_dir(&staging).context("make the directory", staging.display())?;
    Ok(Begun {
        staging: staging.into_os_string().into(),
        git: is_installed("git"),
        mise: is_installed("mise"),
    })
}

/// Moves a staging directory to its place. What is there is replaced at one stroke, and removed afterwards.
///
/// # Errors
///
/// When something is there that may not be replaced, or a move fails; the place is then as it was.
pub(super) fn publish(staging: &Path, path: &Path, replace: bool) -> Result<(), WorkspaceError> {
    if !replace && is_occupied(path)? {
        return Err(WorkspaceError::Occupied { path: path.to_owned() });
    }
    let exchanged = renameat_with(CWD, staging, CWD, path, RenameFlags::EXCHANGE);
    match exchanged {
        Ok(()) => remove(staging).map_err(Into::into),
        Err(rustix::io::Errno::NOENT) => {
            Ok(fs::rename(staging, path).context("move the repository to", path.display())?)
        }
        Err(error) => Err(SystemError::new("move the repository to", path.display(), error).into()),
    }
}

/// An absolute path without `..`, other than the root itself.
pub(super) fn checked(path: &OsStr) -> Result<PathBuf, WorkspaceError> {
    let parsed = PathBuf::from(path);
    let plain = parsed.components().skip(1).all(|part| matches!(part, Component::Normal(_)));
    if parsed.is_absolute() && plain && parsed.file_name().is_some() && !path.as_bytes().contains(&0) {
        Ok(parsed)
    } else {
        Err(WorkspaceError::Path { path: parsed })
    }
}

/// Is there anything but an empty directory?
fn is_occupied(path: &Path) -> Result<bool, SystemError> {
    match fs::read_dir(path) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(path.is_symlink()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(true),
        Err(error) => Err(SystemError::new("look into", path.display(), error)),
    }
}

fn remove_left_overs(parent: &Path) -> Result<(), SystemError> {
    for entry in fs::read_dir(parent).context("look into", parent.display())? {
        let entry = entry.context("look into", parent.display())?;
        if entry.file_name().as_bytes().starts_with(PREFIX.as_bytes()) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

fn remove(path: &Path) -> Result<(), SystemError> {
    let is_dir = path.symlink_metadata().is_ok_and(|found| found.is_dir());
    let removed = if is_dir { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.context("remove", path.display())
}

fn is_installed(program: &str) -> bool {
    find_program(OsStr::new(program), OsStr::new(DEFAULT_PATH), Path::new("/")).is_ok()
}

#[cfg(test)]
mod tests {
    use banger_guest_protocol::ByteString;

    use super::*;

    fn begin_at(path: &Path, replace: bool) -> Result<PathBuf, WorkspaceError> {
        let path = ByteString::from(path.as_os_str().to_owned());
        begin(&Begin { path, replace }).map(|begun| begun.staging.into_os_string().into())
    }

    #[test]
    fn a_repository_takes_the_place_of_an_older_one() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("deep/er/repo");
        for content in ["one", "two"] {
            let staging = begin_at(&place, true).unwrap();
            fs::write(staging.join("file"), content).unwrap();
            publish(&staging, &place, true).unwrap();
            assert_eq!(fs::read_to_string(place.join("file")).unwrap(), content);
            assert_eq!(fs::read_dir(place.parent().unwrap()).unwrap().count(), 1);
        }
    }

    #[test]
    fn what_is_there_stays_unless_it_may_go() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("repo");
        fs::create_dir(&place).unwrap();
        let staging = begin_at(&place, false).unwrap();
        fs::write(place.join("precious"), "").unwrap();
        assert!(matches!(begin_at(&place, false), Err(WorkspaceError::Occupied { .. })));
        assert!(matches!(publish(&staging, &place, false), Err(WorkspaceError::Occupied { .. })));
        assert!(place.join("precious").exists());
        fs::write(dir.path().join("plain"), "").unwrap();
        assert!(matches!(begin_at(&dir.path().join("plain"), false), Err(WorkspaceError::Occupied { .. })));
    }

    #[test]
    fn left_overs_go_when_the_next_import_begins() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("repo");
        let first = begin_at(&place, false).unwrap();
        fs::create_dir_all(first.join("half/made")).unwrap();
        let second = begin_at(&place, false).unwrap();
        assert_eq!(fs::read_dir(second).unwrap().count(), 0);
    }

    #[test]
    fn paths_that_lead_astray_are_refused() {
        for path in ["", "/", "repo", "../repo", "/root/../etc", "/root/.."] {
            assert!(matches!(checked(OsStr::new(path)), Err(WorkspaceError::Path { .. })), "{path}");
        }
    }
}
