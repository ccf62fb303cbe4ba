use banger_api::doctor::Check;
use banger_api::record::is_held;

use super::{Host, fail, ok, warn};
use crate::causes::on_one_line;
use crate::store::{StoreError, copies};

const NAME: &str = "state store";

/// Can the state store be read, and does it hang together?
pub(super) fn check(host: &Host) -> Check {
    let path = host.paths.database();
    let error = match &host.store {
        Ok(Some(_)) => return writable(host),
        Ok(None) => return ok(NAME, "none yet; the daemon makes it when it starts"),
        Err(error) => error,
    };
    if let StoreError::Newer { .. } = error {
        let fix = "install the newer banger again; this one leaves the store alone";
        return fail(NAME, on_one_line(error), Some(fix.into()));
    }
    if path.is_symlink() && !path.exists() {
        let fix = format!("mount the disk that it is on, or remove the link: rm {}", path.display());
        return fail(NAME, on_one_line(error), Some(fix));
    }
    // Opening anything else could wait for ever.
    if path.is_file()
        && let Err(error) = std::fs::File::open(&path)
    {
        let fix = format!("make {} readable and writable for you", path.display());
        return fail(NAME, format!("{} cannot be read: {error}", path.display()), Some(fix));
    }
    if error.is_busy() && is_held(&host.paths.state) {
        let fix = "banger daemon stop   # with room on the disk, the next one opens it as usual";
        return warn(
            NAME,
            "bangerd has opened it for itself alone, as it does on a full disk",
            Some(fix.into()),
        );
    }
    if !error.is_damage() {
        return fail(
            NAME,
            on_one_line(error),
            Some("free what stands in its way; the store itself is not damaged".into()),
        );
    }
    let fix = "banger daemon stop; banger doctor --repair   # sets it aside, and makes a new one of what lies beside the disks";
    // What cannot be read is no copy to recommend.
    let copy = copies(&host.paths.backups()).unwrap_or_default().pop();
    let seen = match copy {
        Some(copy) => format!("{}; the last good copy is {}", on_one_line(error), copy.display()),
        None => on_one_line(error),
    };
    fail(NAME, seen, Some(fix.into()))
}

/// A store that can be read is of no use where it cannot be written.
fn writable(host: &Host) -> Check {
    let path = host.paths.database();
    let opened = std::fs::OpenOptions::new().write(true).open(&path);
    let in_dir = rustix::fs::access(&host.paths.state, rustix::fs::Access::WRITE_OK);
    match opened.map(drop).and(in_dir.map_err(std::io::Error::from)) {
        Ok(()) => ok(NAME, path.display().to_string()),
        Err(error) => {
            let fix = format!("make {} and what is in it writable for you", host.paths.state.display());
            fail(NAME, format!("{} cannot be written: {error}", path.display()), Some(fix))
        }
    }
}
