//! `handles.json`: what the daemon knows of a running VM and cannot read off the OS. It is believed only while the process
//! it names is alive.

use std::path::Path;

use banger_api::vm::Acceleration;
use banger_host::files::{FileError, write_atomic};
use banger_host::process::ProcessIdentity;
use serde::{Deserialize, Serialize};

use crate::paths::VmDir;

/// Written when a VM has come up, so it also says *that* it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Handles {
    pub(super) process: ProcessIdentity,
    pub(super) acceleration: Acceleration,
    pub(super) guest_init: Option<String>,
    pub(super) started_at_unix_ms: u64,
    /// Set while it is being stopped: until when the guest may take. A daemon that dies meanwhile leaves the stop to the next.
    #[serde(default)]
    pub(super) stopping_until_unix_ms: Option<u64>,
}

impl Handles {
    pub(super) fn write(&self, dir: &VmDir) -> Result<(), FileError> {
        let json = serde_json::to_vec_pretty(self).expect("numbers and names make JSON");
        write_atomic(&dir.file(VmDir::HANDLES), &json, 0o600)
    }

    /// None when there is none, or none that can be read: then the OS and the guest have to be asked.
    pub(super) fn read(dir: &VmDir) -> Option<Self> {
        // See above.
        serde_json::from_slice(&std::fs::read(dir.file(VmDir::HANDLES)).ok()?).ok()
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
