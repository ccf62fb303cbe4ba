use std::collections::HashSet;
use std::path::PathBuf;

use banger_host::staging::{StagingDir, discard, remove_stale};
use banger_host::system::free_disk_bytes;
use serde::de::DeserializeOwned;

use super::ArtifactError;
use crate::identity::fill_random;
use crate::lost_found::{LostFound, LostKind};
use crate::record;

const ID_LEN: usize = 12;

/// The directory of all finished images (or kernels), each in a directory of its own that is named by its id.
#[derive(Clone, Debug)]
pub(crate) struct ArtifactStore(PathBuf);

impl ArtifactStore {
    pub(crate) fn new(dir: PathBuf) -> Self {
        Self(dir)
    }

    /// A new id: 12 hexadecimal digits.
    pub(crate) fn new_id() -> String {
        let mut bytes = [0; ID_LEN / 2];
        fill_random(&mut bytes);
        hex::encode(bytes)
    }

    pub(crate) fn dir(&self, id: &str) -> PathBuf {
        self.0.join(id)
    }

    pub(crate) fn staging(&self) -> Result<StagingDir, ArtifactError> {
        Ok(StagingDir::new(&self.0)?)
    }

    /// Gives finished files, with the record of what they are among them, the directory of `id`.
    pub(crate) async fn publish(&self, staging: StagingDir, id: &str) -> Result<(), ArtifactError> {
        let dest = self.dir(id);
        Ok(tokio::task::spawn_blocking(move || staging.publish(&dest)).await??)
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

    /// Removes what a former daemon left half-made or half removed, known by the names of such directories.
    /// Answers their paths.
    pub(crate) async fn sweep_stale(&self) -> Result<Vec<PathBuf>, ArtifactError> {
        Ok(remove_stale(&self.0).await?)
    }

    /// Makes the directories known again whose id is not `known`: `adopt` gets the record in each, and says
    /// why it is of no use. What cannot be explained is moved to lost+found, nothing is removed. Only for the
    /// start of the daemon: what is being published has no row yet.
    pub(crate) fn reclaim<R: DeserializeOwned>(
        &self,
        known: &HashSet<String>,
        (record_name, kind): (&str, LostKind),
        lost_found: &LostFound,
        mut adopt: impl FnMut(&str, R) -> Result<(), String>,
    ) -> Result<(), ArtifactError> {
        for (id, path) in self.stored()? {
            if known.contains(&id) {
                continue;
            }
            let adopted = record::read(&path.join(record_name)).map_err(|error| error.to_string());
            match adopted.and_then(|record| adopt(&id, record)) {
                Ok(()) => tracing::warn!(path = %path.display(), "the store did not know of it; it does now"),
                Err(why) => {
                    if let Err(error) = lost_found.take(&path, kind, &why) {
                        let (path, causes) = (path.display(), crate::causes::chain(&error));
                        tracing::error!(%path, why, ?causes, "it stays where it is, unknown");
                    }
                }
            }
        }
        Ok(())
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

    /// Files beside the directories whose names end with `.<extension>`.
    pub(crate) fn files_with(&self, extension: &str) -> Result<Vec<PathBuf>, ArtifactError> {
        let entries = std::fs::read_dir(&self.0).map_err(ArtifactError::io("read", &self.0))?;
        let paths =
            entries.map(|entry| entry.map(|entry| entry.path()).map_err(ArtifactError::io("read", &self.0)));
        let wanted = |path: &PathBuf| path.extension().is_some_and(|found| found == extension);
        Ok(paths.collect::<Result<Vec<_>, _>>()?.into_iter().filter(wanted).collect())
    }

    /// Removes the directory of an id whose row is gone already. What cannot be removed now is when the
    /// daemon starts next.
    pub(crate) async fn remove(&self, id: &str) {
        let path = self.dir(id);
        if let Err(error) = discard(&path).await {
            tracing::warn!(path = %path.display(), %error, "left for the next start");
        }
    }

    /// Removes what a failed attempt left behind that its staging directory could not: files of sub-uids.
    pub(crate) async fn sweep(&self) {
        if let Err(error) = remove_stale(&self.0).await {
            tracing::warn!(path = %self.0.display(), %error, "left for the next start");
        }
    }

    /// What the directory of `id` takes on disk, in bytes. It is for show: what cannot be read counts
    /// nothing.
    pub(crate) fn disk_used_bytes(&self, id: &str) -> u64 {
        // See above.
        let entries = std::fs::read_dir(self.dir(id)).into_iter().flatten().flatten();
        entries.filter_map(|entry| banger_host::files::allocated_bytes(&entry.path()).ok()).sum()
    }
}

fn is_id(name: &str) -> bool {
    name.len() == ID_LEN && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
