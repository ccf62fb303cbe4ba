//! Patches that wait for those who asked for them.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tempfile::NamedTempFile;

/// How long a patch waits.
const LIFETIME: Duration = Duration::from_secs(600);

/// Patches by name. Each can be taken once.
#[derive(Clone, Default)]
pub(super) struct PendingPatches(Arc<Mutex<HashMap<String, NamedTempFile>>>);

impl PendingPatches {
    /// Keeps a patch for a while, and says by which name it can be had.
    pub(super) fn keep(&self, patch: NamedTempFile) -> String {
        let mut bytes = [0; 16];
        crate::identity::fill_random(&mut bytes);
        let name = format!("{:032x}", u128::from_be_bytes(bytes));
        self.lock().insert(name.clone(), patch);
        // Nobody may ever come for it.
        let (patches, unclaimed) = (self.clone(), name.clone());
        tokio::spawn(async move {
            tokio::time::sleep(LIFETIME).await;
            drop(patches.take(&unclaimed));
        });
        name
    }

    pub(super) fn take(&self, name: &str) -> Option<NamedTempFile> {
        self.lock().remove(name)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, NamedTempFile>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes what a daemon that was killed has left behind in `dir`.
pub(super) fn remove_left(dir: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_patch_is_had_once_and_its_file_goes_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let patches = PendingPatches::default();
        let names: Vec<String> =
            (0..2).map(|_| patches.keep(NamedTempFile::new_in(dir.path()).unwrap())).collect();
        assert!(names[0] != names[1] && patches.take("").is_none());
        for name in &names {
            let patch = patches.take(name).unwrap();
            assert!(patch.path().exists() && patches.take(name).is_none());
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        for _ in 0..2 {
            remove_left(dir.path()).unwrap();
        }
    }
}
