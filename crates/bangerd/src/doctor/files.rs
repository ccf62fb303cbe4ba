use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use banger_api::doctor::Check;
use rustix::fs::{Access, access};
use rustix::io::Errno;

use super::{Host, fail, ok};

const NAME: &str = "directories";

/// What the daemon could not start with: a directory or file of its own that is something else, somebody
/// else's, or cannot be written. What is not there yet is fine.
pub(super) fn check(host: &Host) -> Check {
    let paths = &host.paths;
    let made = [paths.images(), paths.kernels(), paths.vms(), paths.initramfs(), paths.catalogs()];
    let kept = [
        paths.backups(),
        paths.ssh(),
        paths.patches(),
        paths.lost_found().path().to_owned(),
        paths.downloads(),
    ];
    let dirs = [paths.state.clone(), paths.cache.clone()].into_iter().chain(made).chain(kept);
    let files = [paths.lock(), paths.log()];
    let trouble =
        dirs.map(|dir| (trouble(&dir, true), dir)).chain(files.map(|file| (trouble(&file, false), file)));
    let found = trouble.filter_map(|(trouble, path)| trouble.map(|(why, fix)| (path, why, fix))).next();
    match found {
        Some((path, why, fix)) => fail(NAME, format!("{} {why}", path.display()), Some(fix)),
        None => ok(NAME, format!("{} and {}", paths.state.display(), paths.cache.display())),
    }
}

/// What is wrong with it, and what to do about that.
fn trouble(path: &Path, is_dir: bool) -> Option<(String, String)> {
    let found = match path.symlink_metadata() {
        Ok(found) => found,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => return Some((format!("cannot be looked at: {error}"), permit(path))),
    };
    let right = if is_dir { found.is_dir() } else { found.is_file() };
    if !right {
        let wanted = if is_dir { "a directory (a link to one will not do)" } else { "a file" };
        let fix = format!("mv {0} {0}.aside   # banger makes it anew", path.display());
        return Some((format!("is not {wanted}"), fix));
    }
    let uid = banger_host::system::uid();
    if found.uid() != uid {
        let fix = format!("sudo chown -R {uid} {}", path.display());
        return Some((format!("belongs to user {}, not to you (user {uid})", found.uid()), fix));
    }
    let wanted = Access::READ_OK | Access::WRITE_OK | if is_dir { Access::EXEC_OK } else { Access::EXISTS };
    match access(path, wanted) {
        Ok(()) => None,
        Err(Errno::ROFS) => {
            let fix = "mount it so that it can be written, or see in dmesg why it cannot";
            Some(("is on a read-only file system".into(), fix.into()))
        }
        Err(errno) => Some((format!("cannot be used: {errno}"), permit(path))),
    }
}

fn permit(path: &Path) -> String {
    format!("chmod u+rwX {}", path.display())
}
