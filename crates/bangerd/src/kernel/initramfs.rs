use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use banger_host::files::{private_dir, write_atomic};
use banger_host::initramfs::{agent_archive, join};
use banger_host::staging::remove_stale;

use super::agent::Agent;
use super::error::InitramfsFileError;
use crate::artifact::ArtifactError;

/// How much of the agent's checksum tells builds apart, in hexadecimal digits.
const AGENT_KEY_LEN: usize = 16;

/// How the two archives are joined; a new number for each change to it, so that no file of the former kind is
/// used.
const LAYOUT: u32 = 2;

/// The finished initramfs files: `<kernel id>-<layout>-<agent checksum>.cpio`.
#[derive(Clone, Debug)]
pub(super) struct InitramfsCache {
    dir: PathBuf,
    /// One is made at a time: a VMM is allowed the very file that was there when it was started, and a second
    /// writer would put another in its place.
    making: Arc<Mutex<()>>,
}

impl InitramfsCache {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir, making: Arc::default() }
    }

    /// The initramfs of a kernel with the agent as it is now. Made when it is not there; those of the same
    /// kernel with other agents then go.
    pub(super) fn file(
        &self,
        kernel_id: &str,
        modules: &Path,
        agent: &Agent,
    ) -> Result<PathBuf, InitramfsFileError> {
        let key = agent.sha256()?;
        let path = self.dir.join(format!("{kernel_id}-{LAYOUT}-{}.cpio", &key[..AGENT_KEY_LEN]));
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if path.is_file() {
            return Ok(path);
        }
        private_dir(&self.dir)?;
        let modules = std::fs::read(modules)
            .map_err(|source| InitramfsFileError::Modules { path: modules.into(), source })?;
        write_atomic(&path, &join(agent_archive(&agent.read()?)?, &modules), 0o400)?;
        self.prune(|id, file| id == kernel_id && file != path);
        Ok(path)
    }

    /// Removes those of a kernel that goes.
    pub(super) fn forget(&self, kernel_id: &str) {
        self.prune(|id, _| id == kernel_id);
    }

    /// Removes what a former daemon left half-made, and those of kernels that are no more.
    pub(super) async fn recover(&self, known: &HashSet<String>) -> Result<(), ArtifactError> {
        remove_stale(&self.dir).await?;
        self.prune(|id, _| !known.contains(id));
        Ok(())
    }

    /// Removes the files whose kernel id and path are to go. It is a cache: what stays costs some disk space
    /// only.
    fn prune(&self, goes: impl Fn(&str, &Path) -> bool) {
        // See above.
        for entry in std::fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let path = entry.path();
            let Some((id, _)) = path.file_name().and_then(|name| name.to_str()?.split_once('-')) else {
                continue;
            };
            if !id.is_empty()
                && path.extension().is_some_and(|extension| extension == "cpio")
                && goes(id, &path)
            {
                match std::fs::remove_file(&path) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => {
                        tracing::warn!(path = %path.display(), %error, "an old initramfs stays");
                    }
                    _ => {}
                }
            }
        }
    }
}
