//! `handles.json`: what the daemon knows of a running VM and cannot read off the OS. It is believed only
//! while the process it names is alive.

use std::path::Path;

use banger_host::files::{FileError, write_atomic};
use banger_host::process::ProcessIdentity;
use serde::{Deserialize, Serialize};

use crate::clock::unix_ms;
use crate::paths::VmDir;
use crate::store::words::Acceleration;

/// What this build writes. Version 0 had no number, and was written only when a VM had come up.
const VERSION: u32 = 1;

/// Written as soon as there is a process, and again when the VM has come up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Handles {
    #[serde(default)]
    pub(super) version: u32,
    pub(super) process: ProcessIdentity,
    pub(super) acceleration: Acceleration,
    pub(super) guest_init: Option<String>,
    pub(super) started_at_unix_ms: u64,
    /// The guest has been given all that a start gives it: commands may have run in it.
    #[serde(default = "yes")]
    pub(super) came_up: bool,
    /// Set while it is being stopped: until when the guest may take. A daemon that dies meanwhile leaves the
    /// stop to the next.
    #[serde(default)]
    pub(super) stopping_until_unix_ms: Option<u64>,
}

fn yes() -> bool {
    true
}

impl Handles {
    /// Those of a process that was just started.
    pub(super) fn of(process: ProcessIdentity, acceleration: Acceleration) -> Self {
        Self {
            version: VERSION,
            process,
            acceleration,
            guest_init: None,
            started_at_unix_ms: unix_ms(),
            came_up: false,
            stopping_until_unix_ms: None,
        }
    }

    /// Those of a VM whose guest is ready.
    pub(super) fn up(self, guest_init: Option<String>, started_at_unix_ms: u64) -> Self {
        Self { guest_init, started_at_unix_ms, came_up: true, ..self }
    }

    pub(super) fn write(&self, dir: &VmDir) -> Result<(), FileError> {
        let json = serde_json::to_vec_pretty(self).expect("numbers and names make JSON");
        write_atomic(&dir.file(VmDir::HANDLES), &json, 0o600)
    }

    /// None when there are none, none that can be read, or those of a newer banger: then the OS and the guest
    /// have to be asked.
    pub(super) fn read(dir: &VmDir) -> Option<Self> {
        // See above.
        let found: Self = serde_json::from_slice(&std::fs::read(dir.file(VmDir::HANDLES)).ok()?).ok()?;
        (found.version <= VERSION).then_some(found)
    }

    /// The process alone, whichever banger has written the rest.
    pub(super) fn process(dir: &VmDir) -> Option<ProcessIdentity> {
        #[derive(Deserialize)]
        struct Process {
            process: ProcessIdentity,
        }
        // As in `read`.
        let found: Process = serde_json::from_slice(&std::fs::read(dir.file(VmDir::HANDLES)).ok()?).ok()?;
        Some(found.process)
    }

    pub(super) fn remove(dir: &VmDir) -> Result<(), FileError> {
        remove_file(dir, VmDir::HANDLES)
    }
}

/// Removes a file of the VM's; a missing one is fine.
pub(super) fn remove_file(dir: &VmDir, name: &str) -> Result<(), FileError> {
    remove_path(&dir.file(name))
}

pub(super) fn remove_path(path: &Path) -> Result<(), FileError> {
    match std::fs::remove_file(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(FileError::Io { action: "remove", path: path.into(), source })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Option<Handles> {
        let dir = tempfile::tempdir().unwrap();
        let dir = VmDir::at(dir.path());
        std::fs::write(dir.file(VmDir::HANDLES), json).unwrap();
        Handles::read(&dir)
    }

    #[test]
    fn what_an_earlier_banger_wrote_is_of_a_vm_that_came_up() {
        let old = r#"{"process": {"pid": 7, "start_time_ticks": 8}, "acceleration": "kvm", "guest_init": "/sbin/init",
            "started_at_unix_ms": 9}"#;
        let handles = read(old).unwrap();
        assert!(handles.came_up && handles.acceleration == Acceleration::Kvm);
        assert_eq!(handles.guest_init.as_deref(), Some("/sbin/init"));
    }

    #[test]
    fn what_is_damaged_or_of_a_newer_banger_says_nothing() {
        let process = ProcessIdentity::of_this_process().unwrap();
        let handles = Handles::of(process, Acceleration::Tcg).up(None, 1);
        let json = serde_json::to_string(&handles).unwrap();
        assert_eq!(read(&json), Some(handles));
        assert_eq!(read(&json.replace("\"version\":1", "\"version\":2")), None);
        for damaged in ["", "{", &json[..json.len() / 2], "[]"] {
            assert_eq!(read(damaged), None, "{damaged}");
        }
    }
}
