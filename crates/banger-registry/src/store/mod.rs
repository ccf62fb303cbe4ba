//! Content by its digest, on disk: `blobs/sha256/HEX` is whole, `partial/HEX…` is not yet.
//!
//! A file gets its final name only after its digest and size were right and its bytes were flushed. Whoever
//! uses a blob holds a [`BlobLease`]; [`BlobStore::prune`] leaves leased blobs alone, and their unfinished
//! downloads too.

mod flight;
mod lease;
mod prune;
mod sink;

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest as _, Sha256};

use crate::digest::Digest;
use crate::error::RegistryError;
use crate::image::Resolved;

pub use flight::{Flights, Turn};
pub use lease::BlobLease;
use lease::Leases;
pub use prune::Freed;
pub(crate) use sink::Sink;

/// A directory of blobs, used by one process at a time.
#[derive(Clone, Debug)]
pub struct BlobStore {
    blobs: PathBuf,
    partial: PathBuf,
    leases: Arc<Leases>,
    flights: Flights<Digest>,
    serial: Arc<AtomicU64>,
}

impl BlobStore {
    /// Opens the store in a directory, and makes what is missing of it.
    ///
    /// # Errors
    /// Where the directories cannot be made.
    pub fn open(directory: &Path) -> Result<Self, RegistryError> {
        let blobs = directory.join("blobs").join("sha256");
        let partial = directory.join("partial");
        for dir in [&blobs, &partial] {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(dir)
                .map_err(|source| RegistryError::file("make the directory", dir.clone(), source))?;
        }
        Ok(Self {
            blobs,
            partial,
            leases: Arc::default(),
            flights: Flights::default(),
            serial: Arc::default(),
        })
    }

    /// How many bytes of an image's layers are still to be downloaded; what earlier tries left counts as
    /// there.
    #[must_use]
    pub fn missing_bytes(&self, image: &Resolved) -> u64 {
        let missing = image.distinct_layers().map(|layer| {
            if self.has(&layer.digest, layer.size_bytes) {
                0
            } else {
                layer.size_bytes.saturating_sub(self.partial_bytes(&layer.digest))
            }
        });
        missing.fold(0, u64::saturating_add)
    }

    /// Keeps a blob, there or yet to come, from [`Self::prune`] until the lease is dropped.
    #[must_use]
    pub fn lease(&self, digest: &Digest) -> BlobLease {
        self.leases.take(*digest, self.blob_path(digest))
    }

    /// Reads a blob again, and removes it if it is not what its name says: disks forget, too. Says whether it
    /// was right.
    ///
    /// # Errors
    /// Where it cannot be read or removed.
    pub fn check(&self, blob: &BlobLease) -> Result<bool, RegistryError> {
        let path = self.blob_path(blob.digest());
        let failed = |action| {
            let path = path.clone();
            move |source| RegistryError::file(action, path, source)
        };
        let mut file = fs::File::open(&path).map_err(failed("open"))?;
        let (mut hasher, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
        loop {
            match file.read(&mut buffer).map_err(failed("read"))? {
                0 => break,
                count => hasher.update(&buffer[..count]),
            }
        }
        if Digest::finish(hasher) == *blob.digest() {
            return Ok(true);
        }
        fs::remove_file(&path).map_err(failed("remove"))?;
        Ok(false)
    }

    /// Whether a blob is there with this size.
    pub(crate) fn has(&self, digest: &Digest, size_bytes: u64) -> bool {
        fs::symlink_metadata(self.blob_path(digest))
            .is_ok_and(|meta| meta.is_file() && meta.len() == size_bytes)
    }

    /// How much of a blob an unfinished download has brought.
    pub(crate) fn partial_bytes(&self, digest: &Digest) -> u64 {
        fs::symlink_metadata(self.partial_path(digest)).map_or(0, |meta| meta.len())
    }

    pub(crate) fn flights(&self) -> &Flights<Digest> {
        &self.flights
    }

    pub(crate) fn partial_path(&self, digest: &Digest) -> PathBuf {
        self.partial.join(digest.hex())
    }

    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.blobs.join(digest.hex())
    }

    /// A small blob, if it is there and its bytes are what its name says.
    pub(crate) fn read_small(&self, digest: &Digest, limit_bytes: u64) -> Option<Vec<u8>> {
        let path = self.blob_path(digest);
        // It is a cache: what cannot be read is fetched again.
        let meta = fs::symlink_metadata(&path).ok()?;
        if !meta.is_file() || meta.len() > limit_bytes {
            return None;
        }
        // See above.
        fs::read(path).ok().filter(|bytes| Digest::of(bytes) == *digest)
    }

    /// Stores a small blob.
    pub(crate) fn write_small(&self, bytes: &[u8]) -> Result<(), RegistryError> {
        let digest = Digest::of(bytes);
        let _lease = self.lease(&digest);
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let staged = self.partial.join(format!("{}-{}-{serial}", digest.hex(), std::process::id()));
        let path = self.blob_path(&digest);
        let written = write_new(&staged, bytes).and_then(|()| rename_durably(&staged, &path));
        written.map_err(|source| {
            // What could not be written is of no use, and pruning would find it too.
            let _ = fs::remove_file(&staged);
            RegistryError::file("write", path, source)
        })
    }
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Renames within one filesystem, and flushes the new name.
fn rename_durably(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    match to.parent() {
        Some(dir) => fs::File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
