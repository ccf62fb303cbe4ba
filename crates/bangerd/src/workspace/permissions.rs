//! Who may do what with a file of the host's user, after a patch: who could before.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;

use banger_guest_protocol::ByteString;
use banger_host::acl;

use super::patch::{FileChange, FileMode};

/// Gives the file `staged`, which is to lie at `path` below `root`, the permissions, owner, group and access
/// list of the file that it comes from, but for what the patch says of its execution. A new one has what its
/// directory gives to new files.
///
/// # Errors
///
/// When they cannot be read or set.
pub(super) fn permit(
    root: &Path,
    umask: u32,
    change: &FileChange,
    path: &ByteString,
    staged: &Path,
) -> io::Result<()> {
    if staged.symlink_metadata()?.is_symlink() {
        return Ok(());
    }
    let before = change.old_path().map(|path| root.join(path.as_os_str()));
    let before = before.map(|path| Ok::<_, io::Error>((path.symlink_metadata()?, path))).transpose()?;
    let before = before.filter(|(found, _)| found.is_file());
    let is_program = change.new_mode == Some(FileMode::Executable);
    let Some((before, old)) = before else {
        return permit_new(&root.join(path.as_os_str()), staged, is_program, umask);
    };
    give(staged, Some(before.uid()), Some(before.gid()));
    // The mode after the list: setting a list sets the mode, too.
    acl::copy(&old, staged)?;
    let before = before.mode() & 0o777;
    let mode = match change.new_mode {
        None => before,
        now if now == change.old_mode => before,
        _ if is_program => before | ((before & 0o444) >> 2),
        _ => before & !0o111,
    };
    fs::set_permissions(staged, Permissions::from_mode(mode))
}

fn permit_new(path: &Path, staged: &Path, is_program: bool, umask: u32) -> io::Result<()> {
    let wanted = if is_program { 0o777 } else { 0o666 };
    // A directory that is not there yet is made in the next one above.
    let above = path.ancestors().skip(1).find_map(|dir| Some((dir, dir.metadata().ok()?)));
    let Some((dir, above)) = above else {
        return fs::set_permissions(staged, Permissions::from_mode(wanted & !umask));
    };
    if above.mode() & 0o2000 != 0 {
        give(staged, None, Some(above.gid()));
    }
    // Where a directory has a list for new files, that stands for the umask.
    let mode = match acl::inherit(dir, staged)? {
        true => wanted & staged.metadata()?.mode(),
        false => wanted & !umask,
    };
    fs::set_permissions(staged, Permissions::from_mode(mode))
}

fn give(file: &Path, owner: Option<u32>, group: Option<u32>) {
    for (owner, group) in [(owner, None), (None, group)] {
        // Who may not give a file away, or to that group, keeps it; git would not have given it either.
        let _ = chown(file, owner, group);
    }
}
