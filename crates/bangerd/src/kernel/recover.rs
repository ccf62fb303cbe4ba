//! Kernels versus the store, when the daemon starts: what is half made goes, what the store has forgotten
//! comes back.

use std::collections::HashSet;
use std::path::PathBuf;

use super::{KernelError, KernelService};
use crate::causes::{chain, on_one_line};
use crate::lost_found::LostKind;
use crate::record;
use crate::store::KernelRow;

/// What a kernel is, beside its files.
pub(crate) const RECORD: &str = "kernel.json";

impl KernelService {
    /// Removes what a former daemon left half-made and answers what that was; makes kernels known again that
    /// the store does not know. Call it before anything else.
    ///
    /// # Errors
    ///
    /// When what is there cannot be listed, or the store not be read.
    pub async fn recover(&self) -> Result<Vec<PathBuf>, KernelError> {
        let removed = self.artifacts.sweep_stale().await.map_err(KernelError::Recover)?;
        for row in self.store.kernels()?.into_iter().filter(|row| row.unreadable) {
            if let Err(why) = self.repair(&row) {
                tracing::error!(kernel = row.name, why, "its row is damaged and cannot be repaired");
            }
        }
        let rows = self.store.kernels()?;
        for row in rows.iter().filter(|row| !row.unreadable) {
            let dir = self.artifacts.dir(&row.id);
            // Without its directory the kernel is lost, and shown as such.
            if dir.is_dir()
                && !dir.join(RECORD).exists()
                && let Err(error) = record::write(&dir.join(RECORD), row)
            {
                tracing::error!(kernel = row.name, causes = ?chain(&error), "its record is not kept");
            }
        }
        let known: HashSet<String> = rows.into_iter().map(|row| row.id).collect();
        let adopt = |id: &str, row: KernelRow| self.adopt(id, row);
        let reclaimed = self.artifacts.reclaim(&known, (RECORD, LostKind::Kernel), &self.lost_found, adopt);
        reclaimed.map_err(KernelError::Recover)?;
        let known = self.store.kernels()?.into_iter().map(|row| row.id).collect();
        self.initramfs.recover(&known).await.map_err(KernelError::Recover)?;
        self.fetcher.recover();
        Ok(removed)
    }

    /// Writes a damaged row anew, by its record.
    fn repair(&self, damaged: &KernelRow) -> Result<(), String> {
        let path = self.artifacts.dir(&damaged.id).join(RECORD);
        let known: KernelRow = record::read(&path).map_err(|error| on_one_line(&error))?;
        if known.id != damaged.id {
            return Err(format!("its record is of kernel {}", known.id));
        }
        let rewritten = match self.store.rewrite_kernel(&known) {
            // Another one has its name by now.
            Err(error) if error.is_taken() => {
                self.store.rewrite_kernel(&KernelRow { name: aside(&known), ..known })
            }
            other => other,
        };
        rewritten.map_err(|error| on_one_line(&error))?;
        tracing::warn!(id = damaged.id, "the kernel's row was damaged; repaired from its record");
        Ok(())
    }

    /// Writes the row of a kernel that only its record knows of.
    fn adopt(&self, id: &str, mut row: KernelRow) -> Result<(), String> {
        if row.id != id {
            return Err(format!("its record is of kernel {}", row.id));
        }
        if self.store.kernel(&row.name).map_err(|error| error.to_string())?.is_some() {
            row.name = aside(&row);
        }
        self.store.insert_kernel(&row).map_err(|error| error.to_string())
    }
}

/// What a kernel is called whose name another one has.
fn aside(row: &KernelRow) -> String {
    format!("{}-{}", row.name, row.id.get(..4).unwrap_or(&row.id))
}
