use std::collections::HashSet;
use std::path::PathBuf;

use banger_host::staging::{StagingDir, remove_stale, remove_tree};
use banger_host::system::free_disk_bytes;

use super::{ArtifactError, hex};
use crate::identity::fill_random;

const ID_LEN: usize = 12;

/// The directory of all finished images (or kernels), each in a directory of its own that is named by its id.
#[derive(Clone, Debug)]
pub(crate) struct Shelf(PathBuf);

impl Shelf {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self(dir)
    }

    /// A new id: 12 hexadecimal digits.
    pub(crate) fn new_id() -> String {
        let mut bytes = [0; ID_LEN / 2];
        fill_random(&mut bytes);
        hex(&bytes)
    }

    pub(crate) fn dir(&self, id: &str) -> PathBuf {
        self.0.join(id)
    }

    pub(crate) fn staging(&self) -> Result<StagingDir, ArtifactError> {
        Ok(StagingDir::new(&self.0)?)
    }

    /// Gives finished files a directory of their own; answers its id.
    pub(crate) async fn publish(&self, staging: StagingDir) -> Result<String, ArtifactError> {
        let id = Self::new_id();
        let dest = self.dir(&id);
        tokio::task::spawn_blocking(move || staging.publish(&dest)).await??;
        Ok(id)
    }

    /// # Errors
    ///
    /// When less than `needed_mib` are free.
    pub(crate) fn require_space(&self, needed_mib: u64) -> Result<(), ArtifactError> {
        let free_mib = free_disk_bytes(&self.0)? >> 20;
        if free_mib >= needed_mib {
            return Ok(());
        }
        Err(ArtifactError::NoSpace { path: self.0.clone(), needed_mib, free_mib })
    }

    /// Removes what a former daemon left half-made, and the directories that are not of a `known` id. Answers what it
    /// removed. Only for the start of the daemon: what is being published has no row yet.
    pub(crate) async fn recover(&self, known: &HashSet<String>) -> Result<Vec<PathBuf>, ArtifactError> {
        let mut removed = remove_stale(&self.0).await?;
        for (id, path) in self.stored()? {
            if !known.contains(&id) {
                remove_tree(&path).await?;
                removed.push(path);
            }
        }
        Ok(removed)
    }

    /// All that is published: id and directory. What has no id for a name is none of ours.
    fn stored(&self) -> Result<Vec<(String, PathBuf)>, ArtifactError> {
        let entries = match std::fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(ArtifactError::io("read", &self.0)(error)),
        };
        let mut stored = Vec::new();
        for entry in entries {
            let entry = entry.map_err(ArtifactError::io("read", &self.0))?;
            if let Some(id) = entry.file_name().to_str().filter(|name| is_id(name)) {
                stored.push((id.to_owned(), entry.path()));
            }
        }
        Ok(stored)
    }

    /// Removes the directory of an id whose row is gone already. What cannot be removed now is when the daemon starts
    /// next.
    pub(crate) async fn remove(&self, id: &str) {
        let path = self.dir(id);
        if let Err(error) = remove_tree(&path).await {
            tracing::warn!(path = %path.display(), %error, "left for the next start");
        }
    }

    /// Removes what a failed attempt left behind that its staging directory could not: files of sub-uids.
    pub(crate) async fn sweep(&self) {
        if let Err(error) = remove_stale(&self.0).await {
            tracing::warn!(path = %self.0.display(), %error, "left for the next start");
        }
    }

    /// What the directory of `id` takes on disk, in bytes. It is for show: what cannot be read counts nothing.
    pub(crate) fn disk_used_bytes(&self, id: &str) -> u64 {
        let entries = std::fs::read_dir(self.dir(id)).into_iter().flatten().flatten();
        entries.filter_map(|entry| banger_host::files::allocated_bytes(&entry.path()).ok()).sum()
    }
}

fn is_id(name: &str) -> bool {
    name.len() == ID_LEN && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
