use std::fs::File;
use std::path::{Path, PathBuf};

use banger_api::bundle::Bundle;
use banger_api::operation::ProgressUnit;
use banger_host::output_file::OutputFile;

use super::write::write;
use super::{BundleError, Details};
use crate::artifact::ArtifactError;
use crate::operation::Reporter;

/// Writes a bundle of what is called `name` here and has these files (in the order of its kind) to the file
/// `output`. An existing one is replaced when `replace` is set. The file appears whole or not at all.
///
/// # Errors
///
/// When a file is missing, the output exists or cannot be written, or `reporter` is told to stop.
pub(crate) async fn export(
    name: &str,
    details: Details,
    files: Vec<PathBuf>,
    (output, replace): (&Path, bool),
    reporter: &Reporter,
) -> Result<Bundle, ArtifactError> {
    if !replace && output.symlink_metadata().is_ok() {
        return Err(ArtifactError::OutputExists(output.into()));
    }
    let cancelled = reporter.cancelled().child_token();
    let _cancel_with_caller = cancelled.clone().drop_guard();
    let (name, output, reporter) = (name.to_owned(), output.to_owned(), reporter.clone());
    let work = move || {
        // Opened at once: a kernel that is deleted meanwhile is whole in the bundle all the same.
        let open = |path: &PathBuf| File::open(path).map_err(ArtifactError::io("open", path));
        let files = files.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let staged = OutputFile::new(&output, reporter.environment().umask())?;
        let mut progress = |done, total| {
            reporter.progress(done, Some(total), ProgressUnit::Bytes);
            match cancelled.is_cancelled() {
                true => std::ops::ControlFlow::Break(()),
                false => std::ops::ControlFlow::Continue(()),
            }
        };
        let written =
            write(staged.file(), &name, details, files, &mut progress).map_err(|error| match error {
                BundleError::Cancelled => ArtifactError::Cancelled,
                error => ArtifactError::MakeBundle(error).or_disk_full(output.parent().unwrap_or(&output)),
            })?;
        staged.publish(replace)?;
        let path = output.display().to_string();
        Ok(Bundle { path, size_bytes: written.size_bytes, sha256: written.sha256 })
    };
    tokio::task::spawn_blocking(work).await?
}
