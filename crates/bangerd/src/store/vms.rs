use std::net::IpAddr;

use rusqlite::{Row, params};
use serde::{Deserialize, Serialize};

use super::words::{Init, Lifetime, Network};
use super::{Store, StoreError};
use crate::identity::{ImageRef, VmId, VmName};

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

impl VmRow {
    /// Are its image and its kernel known?
    pub fn is_complete(&self) -> bool {
        self.image_id.is_some() && self.kernel_id.is_some()
    }
}

/// The part of a VM that no query looks at: one JSON column, so that a new field needs no migration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredSpec {
    pub image: ImageRef,
    pub kernel: String,
    pub vcpu: u32,
    pub memory_mib: u64,
    pub disk_mib: u64,
    /// The VMM's name. `vmm` knows which there are.
    pub vmm: String,
    pub network: Network,
    /// The texts of its egress policy; none: what the configuration says when it starts.
    #[serde(default)]
    pub egress: Vec<String>,
    pub init: Init,
    pub lifetime: Lifetime,
    #[serde(default)]
    pub publish: Vec<StoredForward>,
    #[serde(default)]
    pub auto_forward: bool,
}

/// A port of the host that leads to one of the guest's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredForward {
    pub address: IpAddr,
    /// 0: another one each time.
    pub local: u16,
    pub guest: u16,
}

pub(super) const COLUMNS: &str = "id, name, phase, image_id, kernel_id, created_at_unix_ms, spec";

impl VmRow {
    /// What stands for a row of which only id and name are known. No VM is ever started by it.
    pub fn placeholder(id: VmId, name: VmName) -> Self {
        let spec = StoredSpec {
            image: ImageRef::default(),
            kernel: String::new(),
            vcpu: 0,
            memory_mib: 0,
            disk_mib: 0,
            vmm: String::new(),
            network: Network::None,
            egress: Vec::new(),
            init: Init::Auto,
            lifetime: Lifetime::Kept,
            publish: Vec::new(),
            auto_forward: false,
        };
        Self {
            id,
            name,
            phase: VmPhase::Exists,
            image_id: None,
            kernel_id: None,
            created_at_unix_ms: 0,
            spec,
        }
    }
}

/// A row that this build cannot read: damaged, or written by another build. Nothing is done about its VM but
/// what the user asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadableVm {
    pub id: String,
    pub name: String,
    /// What about it cannot be read.
    pub why: String,
}

impl VmRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Result<Self, UnreadableVm>> {
        // What is of another type than it should be is unreadable, too.
        let text = |column| row.get::<_, String>(column).unwrap_or_default();
        let (id, name) = (text(0), text(1));
        let parsed = || {
            Ok(Self {
                id: VmId::parse(&id).ok_or("its id is none")?,
                name: VmName::parse(&name).map_err(|_| "its name is none")?,
                phase: VmPhase::parse(&text(2)).ok_or("its phase is unknown")?,
                image_id: row.get(3).map_err(|_| "its image is not readable")?,
                kernel_id: row.get(4).map_err(|_| "its kernel is not readable")?,
                created_at_unix_ms: row.get(5).map_err(|_| "its time of creation is not readable")?,
                spec: serde_json::from_str(&text(6)).map_err(|_| "its size and settings are not readable")?,
            })
        };
        Ok(parsed().map_err(|why: &str| UnreadableVm { id: id.clone(), name: name.clone(), why: why.into() }))
    }
}

impl Store {
    pub fn insert_vm(&self, vm: &VmRow) -> Result<(), StoreError> {
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
                    spec_json(&vm.spec)?
                ],
            )
            .map_err(StoreError::query("add the VM"))?;
        Ok(())
    }

    /// All of them, oldest first; one that cannot be read hides no other.
    pub fn vms(&self) -> Result<Vec<Result<VmRow, UnreadableVm>>, StoreError> {
        let connection = self.connection();
        let action = "list the VMs";
        let mut statement = connection
            .prepare_cached(&format!("SELECT {COLUMNS} FROM vms ORDER BY created_at_unix_ms, id"))
            .map_err(StoreError::query(action))?;
        let rows = statement.query_map([], VmRow::read).and_then(Iterator::collect);
        rows.map_err(StoreError::query(action))
    }

    /// Writes a VM's row anew, in the place of one that cannot be read.
    pub fn rewrite_vm(&self, vm: &VmRow) -> Result<(), StoreError> {
        self.connection()
            .execute(
                "UPDATE vms SET name = ?2, image_id = ?3, kernel_id = ?4, phase = ?5, created_at_unix_ms = ?6, spec = ?7
                 WHERE id = ?1",
                params![
                    vm.id.as_str(),
                    vm.name.as_str(),
                    vm.image_id,
                    vm.kernel_id,
                    vm.phase.word(),
                    vm.created_at_unix_ms,
                    spec_json(&vm.spec)?
                ],
            )
            .map_err(StoreError::query("repair the VM"))?;
        Ok(())
    }

    /// Gives a row another id than one that is none.
    pub fn give_id(&self, bad: &str, id: &VmId) -> Result<(), StoreError> {
        self.connection()
            .execute("UPDATE vms SET id = ?2 WHERE id = ?1", params![bad, id.as_str()])
            .map_err(StoreError::query("repair the VM"))?;
        Ok(())
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

fn spec_json(spec: &StoredSpec) -> Result<String, StoreError> {
    serde_json::to_string(spec)
        .map_err(|error| StoreError::Corrupt { what: format!("a VM that JSON cannot hold: {error}") })
}

#[cfg(test)]
impl VmRow {
    /// A VM whose name is reserved.
    pub(crate) fn example(id: &str, name: &str) -> Self {
        Self {
            id: VmId::parse(id).unwrap(),
            name: VmName::parse(name).unwrap(),
            phase: VmPhase::Creating,
            image_id: None,
            kernel_id: None,
            created_at_unix_ms: 1,
            spec: StoredSpec {
                image: ImageRef::parse("debian-trixie").unwrap(),
                kernel: "debian-6.12".into(),
                vcpu: 1,
                memory_mib: 512,
                disk_mib: 8192,
                vmm: "qemu".into(),
                network: Network::User,
                egress: vec!["internet".into()],
                init: Init::Auto,
                lifetime: Lifetime::Kept,
                publish: Vec::new(),
                auto_forward: false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: &str, name: &str) -> VmRow {
        VmRow::example(id, name)
    }

    fn readable(store: &Store) -> Vec<VmRow> {
        store.vms().unwrap().into_iter().map(Result::unwrap).collect()
    }

    #[test]
    fn one_unreadable_row_hides_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("banger.db")).unwrap();
        let (bad, good) = (row("0123456789ab", "brave-otter"), row("ba9876543210", "calm-otter"));
        store.insert_vm(&bad).unwrap();
        store.insert_vm(&good).unwrap();
        for damage in ["spec = '{'", "spec = '{}'", "phase = 'dreaming'", "name = '../x'", "spec = ''"] {
            let damaged = format!("UPDATE vms SET {damage} WHERE id = '0123456789ab'");
            store.connection().execute(&damaged, []).unwrap();
            let rows = store.vms().unwrap();
            assert!(rows.contains(&Ok(good.clone())), "{damage}: {rows:?}");
            let unreadable: Vec<_> = rows.into_iter().filter_map(Result::err).collect();
            assert_eq!(unreadable.len(), 1, "{damage}");
            assert_eq!(unreadable[0].id, "0123456789ab");
            store.rewrite_vm(&bad).unwrap();
            assert_eq!(readable(&store).len(), 2, "{damage}");
        }
    }

    #[test]
    fn rows_come_back_as_they_went_in() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("banger.db")).unwrap();
        let vm = row("0123456789ab", "brave-otter");
        store.insert_vm(&vm).unwrap();
        assert_eq!(readable(&store), std::slice::from_ref(&vm));
        store.set_vm_phase(&vm.id, VmPhase::Deleting).unwrap();
        assert_eq!(readable(&store)[0].phase, VmPhase::Deleting);
        store.delete_vm(&vm.id).unwrap();
        store.delete_vm(&vm.id).unwrap();
        assert_eq!(readable(&store), []);
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
