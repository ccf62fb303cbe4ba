//! What `banger doctor` reports. `bangerd doctor --json` prints a [`Report`] without any daemon running.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Ok,
    /// Works, but less well than it could.
    Warn,
    /// Something people need will not work.
    Fail,
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What was looked at: `kvm`, `disk space`.
    pub name: String,
    pub verdict: Verdict,
    /// What was seen.
    pub seen: String,
    /// The exact command that mends it, or what to do where no command does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    pub checks: Vec<Check>,
}

/// What `bangerd doctor --repair --json` has done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repaired {
    /// Where the state store lies now that could not be used.
    pub set_aside: Option<String>,
    /// Names of the VMs that are known again.
    pub vms: Vec<String>,
    /// How many images and kernels are known again.
    pub images: usize,
    pub kernels: usize,
    /// How many things went to lost+found.
    pub lost: usize,
}
