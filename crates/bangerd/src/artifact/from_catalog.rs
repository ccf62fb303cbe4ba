//! What a catalog's entry says, in a staging directory: the same for images and kernels.

use std::path::Path;

use banger_host::staging::StagingDir;

use super::bundle::{self, Fetcher, Got};
use super::staged::{Work, build_dir, fetch_tar, in_staging, remove_build_dir};
use super::{Archive, ArtifactError, ArtifactStore};
use crate::catalog::{BundleSource, DebianSource, Entry, Kind};
use crate::operation::Reporter;

/// How the two stages of a build are called, before the name of what is built.
pub(crate) struct BuildStages {
    pub(crate) fetch: &'static str,
    pub(crate) make: &'static str,
}

impl ArtifactStore {
    /// Gets a tar out of Debian's archive, and makes the files of an artifact of it.
    pub(crate) async fn build_debian<T: Send + 'static>(
        &self,
        archive: &dyn Archive,
        (kind, entry, source): (Kind, &Entry, &DebianSource),
        stages: BuildStages,
        make: impl FnOnce(&Path, &Work<'_>) -> Result<T, ArtifactError> + Send + 'static,
        reporter: &Reporter,
    ) -> Result<(StagingDir, T), ArtifactError> {
        archive.check(source)?;
        self.require_space(entry.build_space_mib)?;
        let staging = self.staging()?;
        let build_dir = build_dir(staging.path())?;

        reporter.stage(kind.stage(), format!("{} {} from Debian's archive", stages.fetch, entry.name));
        let tar = fetch_tar(archive, source, &build_dir, reporter).await?;

        reporter.stage(kind.stage(), format!("{} {}", stages.make, entry.name));
        let (staging, made) = in_staging(staging, reporter, move |work| make(&tar, work)).await?;
        remove_build_dir(staging.path()).await?;
        Ok((staging, made))
    }

    /// Gets the files of an artifact that somebody else made.
    pub(crate) async fn get_bundle(
        &self,
        fetcher: &Fetcher,
        (kind, entry, source): (Kind, &Entry, &BundleSource),
        reporter: &Reporter,
    ) -> Result<Got, ArtifactError> {
        self.require_space(entry.build_space_mib)?;
        let staging = self.staging()?;
        reporter.stage(kind.stage(), format!("getting {} from {}", entry.name, source.location));
        bundle::get(fetcher, source, kind, staging, reporter).await
    }
}
