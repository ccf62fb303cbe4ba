//! VMs that the store does not know, or not any more: their directories say what they are.

use std::collections::HashSet;

use super::VmError;
use super::record::VmRecord;
use crate::identity::{VmId, VmName};
use crate::lost_found::LostKind;
use crate::paths::Paths;
use crate::record::RecordError;
use crate::store::{Store, UnreadableVm, VmPhase, VmRow};

/// The store, and the directories that it is held against.
pub(crate) struct Strays<'a> {
    pub(crate) store: &'a Store,
    pub(crate) paths: &'a Paths,
}

impl Strays<'_> {
    /// Writes the rows of VMs anew whose directories are there and whose rows are not. A directory that does
    /// not say what it is goes to lost+found, unless a process of `running` still works in it. What cannot be
    /// moved there either stays, and is answered as unreadable. Nothing is removed.
    pub(crate) fn reclaim(
        &self,
        known: &HashSet<VmId>,
        running: &HashSet<VmId>,
    ) -> (Vec<VmRow>, Vec<UnreadableVm>) {
        let (mut reclaimed, mut unreadable) = (Vec::new(), Vec::new());
        let entries = banger_host::files::entries(&self.paths.vms()).unwrap_or_else(|error| {
            // The VMs that the store knows of are shown as broken, and the others are where they were.
            tracing::error!(causes = ?crate::causes::chain(&error), "VMs that the store does not know are not looked for");
            Vec::new()
        });
        for entry in entries {
            let id = entry.file_name().to_str().and_then(VmId::parse);
            let Some(id) = id.filter(|id| !known.contains(id)) else { continue };
            match self.reclaim_one(&id) {
                Ok(row) => {
                    tracing::warn!(%id, name = %row.name, "the store did not know of this VM; it does now");
                    reclaimed.push(row);
                }
                Err(error) if running.contains(&id) => {
                    tracing::error!(%id, causes = ?crate::causes::chain(&error), "a VM that nobody knows runs");
                }
                Err(error) => {
                    let why = crate::causes::on_one_line(&error);
                    if let Err(error) = self.paths.lost_found().take(&entry.path(), LostKind::Vm, &why) {
                        tracing::error!(%id, why, causes = ?crate::causes::chain(&error), "it stays where it is, unknown");
                        let name = VmName::of_id(&id).to_string();
                        unreadable.push(UnreadableVm { id: id.to_string(), name, why });
                    }
                }
            }
        }
        (reclaimed, unreadable)
    }

    pub(super) fn reclaim_one(&self, id: &VmId) -> Result<VmRow, VmError> {
        let record = VmRecord::read(&self.paths.vm(id), id)?;
        let mut row = record.row(id, self.store)?;
        let store = self.store;
        let others = [another_name(&row.name, &id.as_str()[..4]), VmName::of_id(id), VmName::random()];
        let mut others = others.into_iter();
        loop {
            match (store.insert_vm(&row), others.next()) {
                (Err(error), Some(other)) if error.is_taken() => row.name = other,
                (inserted, _) => break inserted?,
            }
        }
        if let Some(workspace) = &record.workspace {
            store.set_workspace(id, workspace)?;
        }
        Ok(row)
    }

    /// Repairs a row by the record in the VM's directory. One without a proper id gets a new one, so that it
    /// can be named.
    pub(super) fn repair(&self, unreadable: &mut UnreadableVm) -> Option<VmRow> {
        let Some(id) = VmId::parse(&unreadable.id) else {
            let id = VmId::random();
            match self.store.give_id(&unreadable.id, &id) {
                Ok(()) => unreadable.id = id.to_string(),
                Err(error) => tracing::error!(?unreadable, %error, "a row of the store that is no VM"),
            }
            return None;
        };
        let dir = self.paths.vm(&id);
        let repaired = VmRecord::read(&dir, &id).map_err(VmError::from).and_then(|record| {
            let row = record.row(&id, self.store)?;
            self.store.rewrite_vm(&row)?;
            Ok(row)
        });
        match repaired {
            Ok(row) => {
                tracing::warn!(%id, name = %row.name, why = unreadable.why, "its row was damaged; repaired from its record");
                Some(row)
            }
            Err(error) => {
                tracing::error!(%id, causes = ?crate::causes::chain(&error), "its row is damaged and cannot be repaired");
                None
            }
        }
    }

    /// Holds what the store says of a VM against its record: writes the record that an earlier build did not
    /// write, and takes from it what an older store does not know.
    pub(super) fn compare_with_record(&self, row: VmRow) -> Result<VmRow, VmError> {
        let (store, dir) = (self.store, self.paths.vm(&row.id));
        if !dir.path().is_dir() {
            return Ok(row);
        }
        let stored = store.workspace(&row.id)?;
        let record = match VmRecord::read(&dir, &row.id) {
            Ok(record) => record,
            Err(RecordError::Missing(_) | RecordError::Unreadable { .. }) => {
                if row.phase == VmPhase::Exists && row.image_id.is_some() {
                    VmRecord::of(&row, stored).write(&dir)?;
                }
                return Ok(row);
            }
            // A newer banger's, say: it knows why.
            Err(error) => {
                tracing::warn!(vm = %row.name, %error, "its record is left alone");
                return Ok(row);
            }
        };
        let newer = record.workspace.as_ref().filter(|workspace| {
            let known = stored.as_ref().map_or(0, |stored| stored.prepared_at_unix_ms);
            workspace.prepared_at_unix_ms > known
        });
        if let Some(workspace) = newer {
            store.set_workspace(&row.id, workspace)?;
        }
        let is_whole = row.phase == VmPhase::Exists && row.image_id.is_some() && row.kernel_id.is_some();
        if is_whole || row.phase == VmPhase::Deleting {
            return Ok(row);
        }
        // A directory with a record is whole, whatever an older store took it for.
        let row = VmRow { name: row.name, ..record.row(&row.id, self.store)? };
        store.rewrite_vm(&row)?;
        Ok(row)
    }
}

/// A name for a VM whose own is taken by now.
fn another_name(name: &VmName, suffix: &str) -> VmName {
    let mut name = name.to_string();
    name.truncate(63 - 1 - suffix.len());
    VmName::parse(&format!("{name}-{suffix}")).unwrap_or_else(|_| VmName::random())
}
