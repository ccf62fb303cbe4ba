use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use banger_api::operation::ProgressUnit;
use banger_host::files::private_dir;
use banger_host::staging::StagingDir;
use banger_registry::{FileRequest, Progress, Security, Size};

use super::{Expected, Unpacked, unpack};
use crate::artifact::{ArtifactError, in_staging};
use crate::catalog::{BundleLocation, BundleSource, Kind};
use crate::download::Web;
use crate::operation::Reporter;

/// A download that nobody has gone on with for that long is given up.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(7 * 24 * 3600);

/// Largest bundle that is downloaded when its catalog does not say how large it is, in bytes.
const FILE_MAX_LEN: u64 = 64 << 30;

/// Downloads bundles. Keeps what is there of one, by its checksum; a cache.
#[derive(Clone)]
pub(crate) struct Fetcher {
    dir: PathBuf,
    web: Arc<dyn Web>,
}

/// A bundle, unpacked.
pub(crate) struct Got {
    pub(crate) staging: StagingDir,
    pub(crate) unpacked: Unpacked,
}

impl Fetcher {
    pub(crate) fn new(dir: PathBuf, web: Arc<dyn Web>) -> Self {
        Self { dir, web }
    }

    /// Removes downloads that nobody has gone on with for long. It is a cache: what cannot be removed stays.
    pub(crate) fn recover(&self) {
        // See above.
        for entry in std::fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let modified = entry.metadata().and_then(|meta| meta.modified());
            let age = modified.ok().and_then(|time| SystemTime::now().duration_since(time).ok());
            if age.is_some_and(|age| age > GIVEN_UP_AFTER) {
                // See above.
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }

    /// Gets the file of `source`; answers where it is.
    async fn download(
        &self,
        url: &str,
        source: &BundleSource,
        reporter: &Reporter,
    ) -> Result<PathBuf, ArtifactError> {
        private_dir(&self.dir)?;
        let staged = self.dir.join(&source.sha256);
        let digest = format!("sha256:{}", source.sha256).parse();
        let request = FileRequest {
            url: url.into(),
            digest: digest.map_err(ArtifactError::make("a digest of the catalog's checksum"))?,
            size: source.size_bytes.map_or(Size::AtMost(FILE_MAX_LEN), Size::Exactly),
            security: Security::Verified,
        };
        let on_progress = |progress: Progress| {
            let total = (progress.total_bytes > 0).then_some(progress.total_bytes);
            reporter.progress(progress.done_bytes, total, ProgressUnit::Bytes);
        };
        tokio::select! {
            biased;
            () = reporter.cancelled().cancelled() => return Err(ArtifactError::Cancelled),
            got = self.web.file(&request, &staged, reporter.environment(), &on_progress) => got?,
        }
        Ok(staged)
    }
}

/// Gets a bundle that a catalog names, and unpacks it into `staging`.
///
/// # Errors
///
/// When it cannot be had, is not the one that the catalog means, or cannot be used.
pub(crate) async fn get(
    fetcher: &Fetcher,
    source: &BundleSource,
    kind: Kind,
    staging: StagingDir,
    reporter: &Reporter,
) -> Result<Got, ArtifactError> {
    let (path, downloaded) = match &source.location {
        BundleLocation::File(path) => (path.clone(), false),
        BundleLocation::Url(url) => (fetcher.download(url, source, reporter).await?, true),
    };
    let got = unpack_file(&path, kind, Some(source), staging, reporter).await;
    // When the work was called off, the next attempt need not download it again.
    if downloaded && !matches!(got, Err(ArtifactError::Cancelled)) {
        // What cannot be removed now is removed at a later start of the daemon.
        let _ = std::fs::remove_file(&path);
    }
    got
}

/// Unpacks a bundle of the user's into `staging`; `source` says what a catalog knows of it.
///
/// # Errors
///
/// As [`get`].
pub(crate) async fn unpack_file(
    path: &Path,
    kind: Kind,
    source: Option<&BundleSource>,
    staging: StagingDir,
    reporter: &Reporter,
) -> Result<Got, ArtifactError> {
    // Opening a FIFO would wait for a writer.
    if !path.metadata().map_err(ArtifactError::io("read", path))?.is_file() {
        return Err(ArtifactError::NotFile(path.into()));
    }
    let file = File::open(path).map_err(ArtifactError::io("open", path))?;
    let source = source.cloned();
    let (staging, unpacked) = in_staging(staging, reporter, move |work| {
        let expected = Expected {
            kind,
            sha256: source.as_ref().map(|source| source.sha256.as_str()),
            size_bytes: source.as_ref().and_then(|source| source.size_bytes),
        };
        unpack(file, expected, work.dir, &mut |done, total| work.progress(done, total))
    })
    .await?;
    Ok(Got { staging, unpacked })
}
