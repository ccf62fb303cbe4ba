//! Kernels from elsewhere: built from Debian's archive, or downloaded.

use banger_api::operation::Stage;
use banger_host::initramfs::Signatures;

use super::make::{Finished, finish_bundle, make};
use super::{KernelError, KernelService};
use crate::artifact::{ArtifactError, build_dir, bundle, fetch_tar, in_staging};
use crate::catalog::{BundleSource, DebianSource, Entry, Kind, Source};
use crate::operation::Reporter;
use crate::store::KernelRow;

impl KernelService {
    /// Gets a kernel of the catalog, or waits for somebody else who does.
    pub(super) async fn get(&self, name: &str, reporter: &Reporter) -> Result<KernelRow, KernelError> {
        let failed = |source| KernelError::Get { name: name.into(), source };
        let entry = self.catalog.find(Kind::Kernel, name, reporter).await;
        let _turn = match &entry {
            Some(_) => Some(self.flights.turn(name, reporter).await.map_err(failed)?),
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
            Source::Debian(source) => self.build_debian(entry, source, reporter).await,
            Source::Bundle(source) => self.get_bundle(entry, source, reporter).await,
            source @ Source::Oci(_) => {
                Err(ArtifactError::Unsuitable { what: "a kernel", source_text: source.to_string() })
            }
        }
    }

    /// Makes the files of a kernel of Debian's.
    async fn build_debian(
        &self,
        entry: &Entry,
        source: &DebianSource,
        reporter: &Reporter,
    ) -> Result<Finished, ArtifactError> {
        self.archive.check(source)?;
        self.artifacts.require_space(entry.build_space_mib)?;
        let staging = self.artifacts.staging()?;
        let build_dir = build_dir(staging.path())?;

        reporter.stage(Stage::Kernel, format!("getting {} from Debian's archive", entry.name));
        let tar = fetch_tar(self.archive.as_ref(), source, &build_dir, reporter).await?;

        reporter.stage(Stage::Kernel, format!("unpacking {}", entry.name));
        // docs/decisions/0006: they guard nothing, and Debian's kernels do not insist on them.
        let work = in_staging(staging, reporter, move |work| make(&tar, Signatures::Dropped, work));
        let (staging, made) = work.await?;
        Finished::new(staging, made, entry.source.to_string()).await
    }

    /// Gets the files of a kernel that somebody else made.
    async fn get_bundle(
        &self,
        entry: &Entry,
        source: &BundleSource,
        reporter: &Reporter,
    ) -> Result<Finished, ArtifactError> {
        self.artifacts.require_space(entry.build_space_mib)?;
        let staging = self.artifacts.staging()?;
        reporter.stage(Stage::Kernel, format!("getting {} from {}", entry.name, source.location));
        let got = bundle::get(&self.fetcher, source, Kind::Kernel, staging, reporter).await?;
        finish_bundle(got, entry.source.to_string(), reporter).await
    }
}
