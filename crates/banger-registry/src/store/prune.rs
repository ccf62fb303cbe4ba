//! Removing what nobody needs.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;

use super::BlobStore;
use crate::digest::Digest;
use crate::error::RegistryError;

/// What was removed, or would be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freed {
    pub files: u64,
    pub bytes: u64,
}

impl BlobStore {
    /// Removes blobs that are neither kept nor leased, and what broken-off downloads left. Only counts them
    /// if `dry_run`. Files that are none of the store's are left alone.
    ///
    /// # Errors
    /// Where a directory cannot be read or a file cannot be removed; the others are removed all the same.
    pub fn prune(&self, keep: &HashSet<Digest>, dry_run: bool) -> Result<Freed, RegistryError> {
        let mut freed = Freed::default();
        let none = HashSet::new();
        let blobs = self.prune_in(&self.blobs, keep, dry_run, &mut freed);
        let partial = self.prune_in(&self.partial, &none, dry_run, &mut freed);
        blobs.and(partial).map(|()| freed)
    }

    fn prune_in(
        &self,
        dir: &Path,
        keep: &HashSet<Digest>,
        dry_run: bool,
        freed: &mut Freed,
    ) -> Result<(), RegistryError> {
        let read = |source| RegistryError::file("read the directory", dir, source);
        let mut first_failure = Ok(());
        for entry in fs::read_dir(dir).map_err(read)? {
            let entry = entry.map_err(read)?;
            // What follows the digest tells unfinished files of one blob apart.
            let digest = entry.file_name().to_str().and_then(|name| Digest::from_hex(name.get(..64)?));
            let Some(digest) = digest.filter(|digest| !keep.contains(digest)) else { continue };
            let path = entry.path();
            match self.leases.unless_leased(&digest, || remove(&path, dry_run)) {
                None => {}
                Some(Ok(None)) => {}
                Some(Ok(Some(bytes))) => {
                    freed.files += 1;
                    freed.bytes += bytes;
                }
                Some(Err(source)) if first_failure.is_ok() => {
                    first_failure = Err(RegistryError::file("remove", path, source));
                }
                Some(Err(_)) => {}
            }
        }
        first_failure
    }
}

/// The size of what was removed; nothing if it was gone already or is no file.
fn remove(path: &Path, dry_run: bool) -> io::Result<Option<u64>> {
    let meta = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        meta => meta?,
    };
    if !meta.is_file() {
        return Ok(None);
    }
    if !dry_run {
        fs::remove_file(path)?;
    }
    Ok(Some(meta.len()))
}
