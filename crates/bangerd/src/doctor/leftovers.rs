use std::collections::HashSet;
use std::path::Path;

use banger_api::doctor::Check;
use banger_host::files::{FileError, entries};
use banger_host::process::find_by_cwd_and_arg;

use super::{Host, ok, warn};
use crate::causes::on_one_line;
use crate::identity::VmId;
use crate::store::{UnreadableVm, VmRow};
use crate::vmm::MARKER_START;

const NAME: &str = "leftovers";

/// Is there anything of VMs, images or kernels that the store does not know?
pub(super) fn check(host: &Host) -> Check {
    let Ok(store) = &host.store else {
        return warn(NAME, "not looked for: the state store cannot be read", None);
    };
    let known = match store.as_ref().map(known_ids) {
        None => HashSet::new(),
        Some(Ok(known)) => known,
        Some(Err(error)) => return warn(NAME, format!("not looked for: {}", on_one_line(&error)), None),
    };
    let paths = &host.paths;
    let mut found = Vec::new();
    for dir in [paths.vms(), paths.images(), paths.kernels()] {
        match unknown_dirs(&dir, &known) {
            Ok(unknown) => found.extend(unknown),
            Err(error) => return unreadable(&error),
        }
    }
    found.extend(unknown_processes(&paths.vms(), &known));
    if found.is_empty() {
        return lost(host).unwrap_or_else(|error| unreadable(&error));
    }
    let fix = "banger daemon stop; banger daemon start";
    warn(
        NAME,
        found.join(", "),
        Some(format!("{fix}   # the daemon takes in what says what it is, and moves the rest to lost+found")),
    )
}

fn unreadable(error: &FileError) -> Check {
    warn(NAME, on_one_line(error), Some("make it readable and writable for you".into()))
}

/// What an earlier start could not explain.
fn lost(host: &Host) -> Result<Check, FileError> {
    let entries = host.paths.lost_found().list()?;
    if entries.is_empty() {
        return Ok(ok(NAME, "none"));
    }
    let lines = entries.iter().map(|(name, lost)| match lost {
        Ok(lost) => format!("{name} (from {}: {})", lost.from.display(), lost.why),
        Err(_) => name.clone(),
    });
    let seen =
        format!("in {}: {}", host.paths.lost_found().path().display(), lines.collect::<Vec<_>>().join("; "));
    let fix = "banger lost-found restore NAME, or banger lost-found delete NAME";
    Ok(warn(NAME, seen, Some(fix.into())))
}

fn known_ids(store: &crate::store::Store) -> Result<HashSet<String>, crate::store::StoreError> {
    let id =
        |row: Result<VmRow, UnreadableVm>| row.map_or_else(|damaged| damaged.id, |row| row.id.to_string());
    let vms = store.vms()?.into_iter().map(id);
    let images = store.images()?.into_iter().map(|row| row.id);
    let kernels = store.kernels()?.into_iter().map(|row| row.id);
    Ok(vms.chain(images).chain(kernels).collect())
}

/// Directories with an id for a name that nothing has.
fn unknown_dirs(dir: &Path, known: &HashSet<String>) -> Result<Vec<String>, FileError> {
    let unknown = |name: &str| VmId::parse(name).is_some() && !known.contains(name);
    let mut entries = entries(dir)?;
    entries.retain(|entry| entry.file_name().to_str().is_some_and(unknown));
    Ok(entries.iter().map(|entry| entry.path().display().to_string()).collect())
}

/// VMMs that run in the directory of a VM that is not known.
fn unknown_processes(vms: &Path, known: &HashSet<String>) -> Vec<String> {
    // Without the directory there is no such process.
    let processes = find_by_cwd_and_arg(vms, MARKER_START).unwrap_or_default();
    let unknown =
        |cwd: &Path| cwd.file_name().is_none_or(|name| !known.contains(name.to_string_lossy().as_ref()));
    processes
        .iter()
        .filter(|process| unknown(&process.cwd))
        .map(|process| format!("process {} in {}", process.identity.pid, process.cwd.display()))
        .collect()
}
