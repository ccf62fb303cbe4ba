//! Who uses which blob.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::digest::Digest;

/// How many users each blob has.
#[derive(Debug, Default)]
pub(super) struct Leases(Mutex<HashMap<Digest, usize>>);

/// Keeps one blob from being pruned for as long as it lives.
#[derive(Debug)]
pub struct BlobLease {
    digest: Digest,
    path: PathBuf,
    leases: Arc<Leases>,
}

impl Leases {
    pub(super) fn take(self: &Arc<Self>, digest: Digest, path: PathBuf) -> BlobLease {
        *self.lock().entry(digest).or_default() += 1;
        BlobLease { digest, path, leases: Arc::clone(self) }
    }

    /// Does something to a blob's file while nobody can begin to use it; nothing if somebody does.
    pub(super) fn unless_leased<T>(&self, digest: &Digest, touch: impl FnOnce() -> T) -> Option<T> {
        let leased = self.lock();
        if leased.contains_key(digest) { None } else { Some(touch()) }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BlobLease {
    /// The blob's digest.
    #[must_use]
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The blob's file. It is there once the fetch that gave this lease has ended well.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for BlobLease {
    fn drop(&mut self) {
        let mut leased = self.leases.lock();
        if let Some(users) = leased.get_mut(&self.digest) {
            *users -= 1;
            if *users == 0 {
                leased.remove(&self.digest);
            }
        }
    }
}
