//! Kernels of the user's: out of a directory of this host's, or out of a bundle.

use std::fs::File;
use std::path::Path;

use banger_api::operation::Stage;
use banger_host::initramfs::Signatures;
use banger_host::kernel_directory::FoundKernel;

use super::make::{Finished, finish_bundle, make};
use super::{KernelError, KernelService};
use crate::artifact::{ArtifactError, BundleError, build_dir, bundle, in_staging, remove_build_dir, turn};
use crate::catalog::{Catalog, Kind};
use crate::operation::Reporter;
use crate::store::KernelRow;

/// Longest name of a kernel.
const NAME_MAX_LEN: usize = 64;

/// What unpacking takes besides the modules themselves: the kernel, twice.
const KERNEL_SPACE_MIB: u64 = 256;

impl KernelService {
    /// Makes a kernel of what is in the directory `from`, or of the bundle that it is.
    ///
    /// # Errors
    ///
    /// When the name is none or taken, or there is no kernel that VMs could boot. Nothing is left then.
    pub async fn import(
        &self,
        name: &str,
        from: &Path,
        reporter: &Reporter,
    ) -> Result<KernelRow, KernelError> {
        let failed = |source| KernelError::Import { from: from.into(), source };
        check_name(name)?;
        let _turn = turn(&self.flights, name, reporter).await.map_err(failed)?;
        if self.store.kernel(name)?.is_some() {
            return Err(KernelError::NameTaken { name: name.into() });
        }
        if Catalog::builtin().find(Kind::Kernel, name, reporter).await.is_some() {
            reporter.notice(format!("from now on {name} is this kernel, and not the catalog's"));
        }
        let made = async {
            let meta = from.metadata().map_err(ArtifactError::io("find", from))?;
            if meta.is_dir() {
                self.import_directory(name, from, reporter).await
            } else {
                self.import_bundle(name, from, reporter).await
            }
        };
        let made = made.await;
        if made.is_err() {
            self.artifacts.sweep().await;
        }
        self.publish(name, made.map_err(failed)?).await
    }

    async fn import_directory(
        &self,
        name: &str,
        from: &Path,
        reporter: &Reporter,
    ) -> Result<Finished, ArtifactError> {
        reporter.stage(Stage::Kernel, format!("looking for a kernel in {}", from.display()));
        let dir = from.to_owned();
        let look = move || {
            let found = FoundKernel::find(&dir)?;
            Ok((found.modules_bytes()?, found))
        };
        let looked: Result<_, ArtifactError> = tokio::task::spawn_blocking(look).await?;
        let (modules_bytes, mut found) = looked?;
        // Once as a tar, once as a filesystem.
        self.artifacts.require_space(2 * (modules_bytes >> 20) + KERNEL_SPACE_MIB)?;
        let staging = self.artifacts.staging()?;
        let build_dir = build_dir(staging.path())?;
        let dependencies = tokio::select! {
            biased;
            () = reporter.cancelled().cancelled() => return Err(ArtifactError::Cancelled),
            made = found.dependencies(&build_dir) => made?,
        };
        let kernel = found.kernel.display().to_string();
        reporter.stage(Stage::Kernel, format!("making {name} of {kernel}"));
        let tar = build_dir.join("kernel.tar");
        let work = in_staging(staging, reporter, move |work| {
            found.pack(&tar, dependencies.as_ref(), &mut |done, total| work.progress(done, total))?;
            // A kernel that is not Debian's may insist on signatures.
            Ok((make(&tar, Signatures::Kept, work)?, found.notices))
        });
        let (staging, (made, notices)) = work.await?;
        notices.into_iter().for_each(|notice| reporter.notice(notice));
        remove_build_dir(staging.path()).await?;
        Ok(Finished { staging, made, source: format!("imported from {kernel}") })
    }

    async fn import_bundle(
        &self,
        name: &str,
        from: &Path,
        reporter: &Reporter,
    ) -> Result<Finished, ArtifactError> {
        // Opening a FIFO would wait for a writer.
        let is_file = from.metadata().map_err(ArtifactError::io("find", from))?.is_file();
        let looked =
            if is_file { File::open(from).and_then(|file| bundle::is_bundle(&file)) } else { Ok(false) };
        if !looked.map_err(ArtifactError::io("read", from))? {
            return Err(BundleError::NoBundle("it is neither a directory nor a bundle").into());
        }
        reporter.stage(Stage::Kernel, format!("unpacking {name}"));
        let staging = self.artifacts.staging()?;
        let got = bundle::unpack_file(from, Kind::Kernel, None, staging, reporter).await?;
        finish_bundle(got, format!("imported from {}", from.display()), reporter).await
    }
}

fn check_name(name: &str) -> Result<(), KernelError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let good = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.len() <= NAME_MAX_LEN
        && name.chars().all(plain);
    if good { Ok(()) } else { Err(KernelError::Name { name: name.into() }) }
}
