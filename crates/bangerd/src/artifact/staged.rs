use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use banger_api::operation::{ProgressUnit, Stage};
use banger_host::staging::{StagingDir, remove_tree};
use tokio_util::sync::CancellationToken;

use super::{Archive, ArtifactError};
use crate::catalog::DebianSource;
use crate::operation::Reporter;

/// Gets the tar of `source` into the directory `into`.
pub(crate) async fn fetch_tar(
    archive: &dyn Archive,
    source: &DebianSource,
    into: &Path,
    reporter: &Reporter,
) -> Result<PathBuf, ArtifactError> {
    let mut on_line = |line: &str| reporter.output(line);
    let fetched = tokio::select! {
        biased;
        () = reporter.cancelled().cancelled() => return Err(ArtifactError::Cancelled),
        fetched = archive.fetch(source, into, reporter.environment(), &mut on_line) => fetched,
    };
    fetched.map_err(|error| ArtifactError::from(error).or_disk_full(into))
}

/// Blocking work in a staging directory.
pub(crate) struct Work<'a> {
    pub(crate) dir: &'a Path,
    reporter: &'a Reporter,
    cancelled: &'a CancellationToken,
}

impl Work<'_> {
    /// Tells that the next part of the work begins.
    pub(crate) fn stage(&self, stage: Stage, detail: String) {
        self.reporter.stage(stage, detail);
    }

    /// Tells how far the work has come; learns whether to go on.
    pub(crate) fn progress(&self, done: u64, total: u64) -> ControlFlow<()> {
        self.reporter.progress(done, Some(total), ProgressUnit::Bytes);
        if self.cancelled.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// Runs blocking `work` in `staging`. The directory travels with the work, so nobody removes it underneath
/// when the caller loses interest; the work then ends at its next [`Work::progress`].
pub(crate) async fn in_staging<T: Send + 'static>(
    staging: StagingDir,
    reporter: &Reporter,
    work: impl FnOnce(&Work<'_>) -> Result<T, ArtifactError> + Send + 'static,
) -> Result<(StagingDir, T), ArtifactError> {
    let cancelled = reporter.cancelled().child_token();
    let _cancel_with_caller = cancelled.clone().drop_guard();
    let reporter = reporter.clone();
    let run = move || {
        let dir = staging.path();
        let made = work(&Work { dir, reporter: &reporter, cancelled: &cancelled });
        if cancelled.is_cancelled() {
            return Err(ArtifactError::Cancelled);
        }
        let made = made.map_err(|error| error.or_disk_full(dir))?;
        Ok((staging, made))
    };
    tokio::task::spawn_blocking(run).await?
}

/// The part of a staging directory that is not published.
const BUILD_DIR: &str = "build";

/// Makes a directory in `staging` for what is needed on the way only.
pub(crate) fn build_dir(staging: &Path) -> Result<PathBuf, ArtifactError> {
    let dir = staging.join(BUILD_DIR);
    std::fs::create_dir(&dir).map_err(ArtifactError::io("create", &dir))?;
    Ok(dir)
}

pub(crate) async fn remove_build_dir(staging: &Path) -> Result<(), ArtifactError> {
    Ok(remove_tree(&staging.join(BUILD_DIR)).await?)
}
