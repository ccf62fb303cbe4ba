use banger_guest_protocol::ByteString;
use rusqlite::{OptionalExtension as _, params};
use serde::{Deserialize, Serialize};

use super::words::WorkspaceMode;
use super::{Store, StoreError};
use crate::identity::VmId;

/// A VM's copy of a repository: one JSON column, for no query looks into it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredWorkspace {
    pub guest_path: ByteString,
    pub host_path: ByteString,
    /// Where in the repository commands begin.
    pub inside: ByteString,
    pub mode: WorkspaceMode,
    pub include_untracked: bool,
    /// The commit that it was made of.
    pub commit: Option<String>,
    /// The branch that was checked out.
    pub branch: Option<String>,
    /// The trees that the guest's work is compared with: of the repository (an empty path) and of its
    /// submodules.
    pub bases: Vec<(ByteString, String)>,
    /// The same, with what sparse checkouts leave out.
    #[serde(default)]
    pub wholes: Vec<String>,
    /// For each of them, the host's settings that decided what a file is as an object.
    #[serde(default)]
    pub conversions: Vec<Vec<(String, String)>>,
    /// For each of them, what the host's user has git ignore, beyond what the repository itself says.
    #[serde(default)]
    pub excludes: Vec<ByteString>,
    pub prepared_at_unix_ms: u64,
    /// False from the moment the guest's copy is touched until it is whole.
    pub complete: bool,
}

impl Store {
    /// What is known of a VM's workspace.
    pub fn workspace(&self, vm: &VmId) -> Result<Option<StoredWorkspace>, StoreError> {
        let details: Option<String> = self
            .connection()
            .query_row("SELECT details FROM workspaces WHERE vm_id = ?1", [vm.as_str()], |row| row.get(0))
            .optional()
            .map_err(StoreError::query("find the workspace"))?;
        let unreadable = |_| StoreError::Corrupt { what: format!("VM {vm} with an unreadable workspace") };
        details.map(|details| serde_json::from_str(&details).map_err(unreadable)).transpose()
    }

    /// Writes it down, in the place of what was known before. The VM must exist.
    pub fn set_workspace(&self, vm: &VmId, workspace: &StoredWorkspace) -> Result<(), StoreError> {
        let details = serde_json::to_string(workspace).map_err(|error| StoreError::Corrupt {
            what: format!("a workspace that JSON cannot hold: {error}"),
        })?;
        self.connection()
            .execute(
                "INSERT INTO workspaces (vm_id, details) VALUES (?1, ?2)
                 ON CONFLICT (vm_id) DO UPDATE SET details = excluded.details",
                params![vm.as_str(), details],
            )
            .map_err(StoreError::query("write down the workspace"))?;
        Ok(())
    }
}
