//! Kernels from elsewhere: built from Debian's archive, or downloaded.

use std::path::Path;

use banger_host::initramfs::Signatures;

use super::make::{Finished, finish_bundle, make};
use super::{KernelError, KernelService};
use crate::artifact::{ArtifactError, BuildStages, Work, turn};
use crate::catalog::{Entry, Kind, Source};
use crate::operation::Reporter;
use crate::store::KernelRow;

impl KernelService {
    /// Gets a kernel of the catalog, or waits for somebody else who does.
    pub(super) async fn get(&self, name: &str, reporter: &Reporter) -> Result<KernelRow, KernelError> {
        let failed = |source| KernelError::Get { name: name.into(), source };
        let entry = self.catalog.find(Kind::Kernel, name, reporter).await;
        let _turn = match &entry {
            Some(_) => Some(turn(&self.flights, name, reporter).await.map_err(failed)?),
            None => None,
        };
        if let Some(row) = self.local(name)? {
            return Ok(row);
        }
        let damaged = self.store.kernel(name)?;
        // One that was imported under this name is not the catalog's to replace.
        let its_own =
            |entry: &Entry| damaged.as_ref().is_none_or(|row| row.source == entry.source.to_string());
        let Some(entry) = entry.filter(its_own) else {
            return Err(match damaged {
                Some(row) => self.lost(&row, self.vmlinux(&row))?,
                None => self.unknown(name).await,
            });
        };
        if let Some(row) = damaged {
            self.forget(&row).await?;
        }
        let built = self.build(&entry, reporter).await;
        if built.is_err() {
            self.artifacts.sweep().await;
        }
        self.publish(name, built.map_err(failed)?).await
    }

    /// Drops what is known of a kernel of which a file is gone.
    async fn forget(&self, row: &KernelRow) -> Result<(), KernelError> {
        if !self.store.delete_unused_kernel(&row.id)? {
            let path = self.missing_file(row).unwrap_or_else(|| self.vmlinux(row));
            return Err(self.lost(row, path)?);
        }
        self.remove_files(row).await;
        Ok(())
    }

    async fn build(&self, entry: &Entry, reporter: &Reporter) -> Result<Finished, ArtifactError> {
        match &entry.source {
            Source::Debian(source) => {
                let stages = BuildStages { fetch: "getting", make: "unpacking" };
                // docs/decisions/0006: they guard nothing, and Debian's kernels do not insist on them.
                let make = |tar: &Path, work: &Work<'_>| make(tar, Signatures::Dropped, work);
                let what = (Kind::Kernel, entry, source);
                let built = self.artifacts.build_debian(self.archive.as_ref(), what, stages, make, reporter);
                let (staging, made) = built.await?;
                Ok(Finished { staging, made, source: entry.source.to_string() })
            }
            Source::Bundle(source) => {
                let what = (Kind::Kernel, entry, source);
                let got = self.artifacts.get_bundle(&self.fetcher, what, reporter).await?;
                finish_bundle(got, entry.source.to_string(), reporter).await
            }
            source @ Source::Oci(_) => {
                Err(ArtifactError::Unsuitable { what: "a kernel", source_text: source.to_string() })
            }
        }
    }
}
