use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::{FoundKernel, KernelDirectoryError, ModulesAt};
use crate::command::Command;

/// What depmod finds out about modules.
#[derive(Clone, Debug)]
pub struct Dependencies(PathBuf);

impl Dependencies {
    /// The files, in one directory.
    pub(super) fn dir(&self) -> &Path {
        &self.0
    }
}

impl FoundKernel {
    /// Runs depmod in `work`, an existing directory, when the modules have never seen it: those of a package
    /// that was unpacked but not installed. The modules themselves stay as they are.
    ///
    /// # Errors
    ///
    /// When there is no depmod, or it fails.
    pub async fn dependencies(&self, work: &Path) -> Result<Option<Dependencies>, KernelDirectoryError> {
        let ModulesAt::Directory(modules) = &self.modules else { return Ok(None) };
        if modules.join("modules.dep").is_file() {
            return Ok(None);
        }
        let base = work.join("depmod");
        let dir = base.join("lib/modules").join(&self.release);
        link_all(modules, &dir)?;
        let depmod = Command::new("depmod").arg("-b").arg(&base).arg(&self.release);
        let run = depmod.run().await;
        run.map_err(|source| KernelDirectoryError::Depmod { modules: modules.clone(), source })?;
        Ok(Some(Dependencies(dir)))
    }
}

/// Makes `dir` look like `modules`, so that depmod writes its files there.
fn link_all(modules: &Path, dir: &Path) -> Result<(), KernelDirectoryError> {
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |source| KernelDirectoryError::Io { action, path, source }
    };
    let modules = modules.canonicalize().map_err(failed("read", modules))?;
    fs::create_dir_all(dir).map_err(failed("create", dir))?;
    for entry in fs::read_dir(&modules).map_err(failed("read", &modules))? {
        let entry = entry.map_err(failed("read", &modules))?;
        let link = dir.join(entry.file_name());
        symlink(entry.path(), &link).map_err(failed("create", &link))?;
    }
    Ok(())
}
