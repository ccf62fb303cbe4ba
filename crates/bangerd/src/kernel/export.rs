//! Kernels on their way to other hosts.

use std::path::Path;

use banger_api::bundle::Bundle;
use banger_api::operation::Stage;

use super::{KernelError, KernelService};
use crate::artifact::bundle::{self, Details};
use crate::operation::Reporter;

impl KernelService {
    /// Writes a bundle of a kernel of this host's to the file `output`. An existing one is replaced when
    /// `replace` is set.
    ///
    /// # Errors
    ///
    /// When the kernel is not here or not whole, or the file cannot be written. Nothing is left of it then.
    pub async fn bundle(
        &self,
        name: &str,
        output: &Path,
        replace: bool,
        reporter: &Reporter,
    ) -> Result<Bundle, KernelError> {
        let Some(row) = self.store.kernel(name)? else { return Err(self.not_here(name).await) };
        if let Some(path) = self.missing_file(&row) {
            return Err(self.lost(&row, path)?);
        }
        reporter.stage(Stage::Kernel, format!("writing {}", output.display()));
        let details = Details::Kernel { release: row.release.clone() };
        let written = bundle::export(name, details, self.files(&row), (output, replace), reporter);
        written.await.map_err(|source| KernelError::Bundle { name: name.into(), source })
    }
}
