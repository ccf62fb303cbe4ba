use rusqlite::{Row, params};
use serde::{Deserialize, Serialize};

use banger_api::vm::{InitChoice, Lifetime, NetworkMode, VmmKind};

use super::{Store, StoreError};
use crate::identity::{VmId, VmName};

/// How far a VM's existence has come. What it does once it exists is no business of the store's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VmPhase {
    /// The name is reserved; the disks may be missing or half made.
    Creating,
    Exists,
    /// It is going; whatever is left of it must go, too.
    Deleting,
}

impl VmPhase {
    fn word(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Exists => "exists",
            Self::Deleting => "deleting",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::Creating, Self::Exists, Self::Deleting].into_iter().find(|phase| phase.word() == word)
    }
}

/// What a VM is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmRow {
    pub id: VmId,
    pub name: VmName,
    pub phase: VmPhase,
    /// None until the image is there.
    pub image_id: Option<String>,
    /// None until the kernel is there.
    pub kernel_id: Option<String>,
    pub created_at_unix_ms: u64,
    pub spec: StoredSpec,
}

/// The part of a VM that no query looks at: one JSON column, so that a new field needs no migration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredSpec {
    pub image: String,
    pub kernel: String,
    pub vcpu: u32,
    pub memory_mib: u64,
    pub disk_mib: u64,
    pub vmm: VmmKind,
    pub network: NetworkMode,
    pub init: InitChoice,
    pub lifetime: Lifetime,
}

const COLUMNS: &str = "id, name, phase, image_id, kernel_id, created_at_unix_ms, spec";

impl VmRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Result<Self, StoreError>> {
        let (id, name, phase): (String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let (image_id, kernel_id, created_at_unix_ms) = (row.get(3)?, row.get(4)?, row.get(5)?);
        let spec: String = row.get(6)?;
        let corrupt = |what: &str| StoreError::Corrupt { what: format!("VM {id} with an unreadable {what}") };
        let parsed = || {
            Ok(Self {
                id: VmId::parse(&id).ok_or_else(|| corrupt("id"))?,
                name: VmName::parse(&name).map_err(|_| corrupt("name"))?,
                phase: VmPhase::parse(&phase).ok_or_else(|| corrupt("phase"))?,
                image_id,
                kernel_id,
                created_at_unix_ms,
                spec: serde_json::from_str(&spec).map_err(|_| corrupt("spec"))?,
            })
        };
        Ok(parsed())
    }
}

impl Store {
    pub fn insert_vm(&self, vm: &VmRow) -> Result<(), StoreError> {
        let spec = serde_json::to_string(&vm.spec)
            .map_err(|error| StoreError::Corrupt { what: format!("a VM that JSON cannot hold: {error}") })?;
        self.connection()
            .execute(
                &format!("INSERT INTO vms ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"),
                params![
                    vm.id.as_str(),
                    vm.name.as_str(),
                    vm.phase.word(),
                    vm.image_id,
                    vm.kernel_id,
                    vm.created_at_unix_ms,
                    spec
                ],
            )
            .map_err(StoreError::query("add the VM"))?;
        Ok(())
    }

    pub fn vms(&self) -> Result<Vec<VmRow>, StoreError> {
        let connection = self.connection();
        let action = "list the VMs";
        let mut statement = connection
            .prepare_cached(&format!("SELECT {COLUMNS} FROM vms ORDER BY created_at_unix_ms, id"))
            .map_err(StoreError::query(action))?;
        let rows: Result<Vec<_>, _> = statement.query_map([], VmRow::read).and_then(Iterator::collect);
        rows.map_err(StoreError::query(action))?.into_iter().collect()
    }

    pub fn set_vm_phase(&self, id: &VmId, phase: VmPhase) -> Result<(), StoreError> {
        self.connection()
            .execute("UPDATE vms SET phase = ?2 WHERE id = ?1", params![id.as_str(), phase.word()])
            .map_err(StoreError::query("change the VM"))?;
        Ok(())
    }

    /// Ties the VM to its image and kernel, which can then not be deleted.
    pub fn set_vm_parts(&self, id: &VmId, image_id: &str, kernel_id: &str) -> Result<(), StoreError> {
        self.connection()
            .execute(
                "UPDATE vms SET image_id = ?2, kernel_id = ?3 WHERE id = ?1",
                params![id.as_str(), image_id, kernel_id],
            )
            .map_err(StoreError::query("tie the VM to its image and kernel"))?;
        Ok(())
    }

    /// Removes the row; a missing one is fine.
    pub fn delete_vm(&self, id: &VmId) -> Result<(), StoreError> {
        self.connection()
            .execute("DELETE FROM vms WHERE id = ?1", [id.as_str()])
            .map_err(StoreError::query("remove the VM"))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str, name: &str) -> VmRow {
        VmRow {
            id: VmId::parse(id).unwrap(),
            name: VmName::parse(name).unwrap(),
            phase: VmPhase::Creating,
            image_id: None,
            kernel_id: None,
            created_at_unix_ms: 1,
            spec: StoredSpec {
                image: "debian-trixie".into(),
                kernel: "debian-6.12".into(),
                vcpu: 1,
                memory_mib: 512,
                disk_mib: 8192,
                vmm: VmmKind::Qemu,
                network: NetworkMode::User,
                init: InitChoice::Auto,
                lifetime: Lifetime::Kept,
            },
        }
    }

    #[test]
    fn rows_come_back_as_they_went_in() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("banger.db")).unwrap();
        let vm = row("0123456789ab", "brave-otter");
        store.insert_vm(&vm).unwrap();
        assert_eq!(store.vms().unwrap(), std::slice::from_ref(&vm));
        store.set_vm_phase(&vm.id, VmPhase::Deleting).unwrap();
        assert_eq!(store.vms().unwrap()[0].phase, VmPhase::Deleting);
        store.delete_vm(&vm.id).unwrap();
        store.delete_vm(&vm.id).unwrap();
        assert_eq!(store.vms().unwrap(), []);
    }

    #[test]
    fn a_taken_name_is_told_from_other_failures() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("banger.db")).unwrap();
        store.insert_vm(&row("0123456789ab", "brave-otter")).unwrap();
        assert!(store.insert_vm(&row("ba9876543210", "brave-otter")).unwrap_err().is_taken());
        assert!(!store.insert_vm(&row("0123456789ab", "calm-otter")).unwrap_err().is_taken());
        let dangling = store.set_vm_parts(&VmId::parse("0123456789ab").unwrap(), "no such", "no such");
        assert!(!dangling.unwrap_err().is_taken());
    }
}
