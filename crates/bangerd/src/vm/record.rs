//! `vm.json`: what a VM is, beside its disks. Whoever finds the directory alone knows all that the store
//! knew.

use serde::{Deserialize, Serialize};

use banger_host::files::FileError;

use crate::identity::{VmId, VmName};
use crate::paths::VmDir;
use crate::record::{self, RecordError};
use crate::store::{Store, StoreError, StoredSpec, StoredWorkspace, VmPhase, VmRow};

/// What is written of a VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct VmRecord {
    id: String,
    name: String,
    created_at_unix_ms: u64,
    pub(super) spec: StoredSpec,
    /// The very image and kernel: the disks are changes to that image, and to no other of its name.
    pub(super) image: Option<Part>,
    pub(super) kernel: Option<Part>,
    pub(super) workspace: Option<StoredWorkspace>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) id: String,
    /// For people, should the part be gone.
    pub(super) name: String,
}

impl VmRecord {
    pub(super) fn of(row: &VmRow, workspace: Option<StoredWorkspace>) -> Self {
        let part = |id: &Option<String>, name: &str| {
            id.as_ref().map(|id| Part { id: id.clone(), name: name.to_owned() })
        };
        Self {
            id: row.id.to_string(),
            name: row.name.to_string(),
            created_at_unix_ms: row.created_at_unix_ms,
            image: part(&row.image_id, row.spec.image.as_str()),
            kernel: part(&row.kernel_id, &row.spec.kernel),
            spec: row.spec.clone(),
            workspace,
        }
    }

    pub(super) fn write(&self, dir: &VmDir) -> Result<(), FileError> {
        record::write(&dir.file(VmDir::RECORD), self)
    }

    /// The record in the directory of VM `id`.
    pub(super) fn read(dir: &VmDir, id: &VmId) -> Result<Self, RecordError> {
        let path = dir.file(VmDir::RECORD);
        let found: Self = record::read(&path)?;
        let is_its_own = found.id == id.as_str() && VmName::parse(&found.name).is_ok();
        if is_its_own { Ok(found) } else { Err(RecordError::Another { path, other: found.id }) }
    }

    /// Which VM the record in a directory is about.
    pub(super) fn id(dir: &VmDir) -> Option<VmId> {
        let found: Self = record::read(&dir.file(VmDir::RECORD)).ok()?;
        VmId::parse(&found.id)
    }

    /// The row that it is about. Image and kernel are in it when they are on this host.
    pub(super) fn row(&self, id: &VmId, store: &Store) -> Result<VmRow, StoreError> {
        let image = self.image.as_ref().map(|part| store.image_by_id(&part.id)).transpose()?;
        let kernel = self.kernel.as_ref().map(|part| store.kernel_by_id(&part.id)).transpose()?;
        Ok(VmRow {
            id: id.clone(),
            // Looked at when it was read.
            name: VmName::parse(&self.name).unwrap_or_else(|_| VmName::of_id(id)),
            phase: VmPhase::Exists,
            image_id: image.flatten().map(|row| row.id),
            kernel_id: kernel.flatten().map(|row| row.id),
            created_at_unix_ms: self.created_at_unix_ms,
            spec: self.spec.clone(),
        })
    }
}
