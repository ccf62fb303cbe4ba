//! A VM's own disks: the copy-on-write store over its image, and the work disk that is its `/root`.

use std::path::Path;

use banger_guest_protocol::COW_CHUNK_BYTES;
use banger_host::files::{FileError, create_sparse};
use banger_host::work_disk::{WorkDiskError, make_work_disk};

/// Bytes of metadata that the snapshot's persistent format needs for each chunk it holds.
const METADATA_BYTES_PER_CHUNK: u64 = 16;

/// Why a VM's disk could not be made.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    #[error("could not make the VM's copy-on-write disk")]
    Cow(#[source] FileError),
    #[error("could not make the VM's work disk")]
    Work(#[source] WorkDiskError),
}

/// Makes the copy-on-write store for an image of `base_bytes`: sparse, so it takes what the VM changes.
pub(crate) fn make_cow(path: &Path, base_bytes: u64) -> Result<(), DiskError> {
    create_sparse(path, cow_bytes(base_bytes)).map_err(DiskError::Cow)
}

/// Makes the VM's `/root`.
pub(crate) async fn make_work(path: &Path, size_mib: u64) -> Result<(), DiskError> {
    make_work_disk(path, size_mib).await.map_err(DiskError::Work)
}

/// Room for every chunk of the image and its metadata, so that the snapshot can never overflow (an
/// overflowing one becomes invalid and takes the VM's root with it).
pub(crate) fn cow_bytes(base_bytes: u64) -> u64 {
    let chunks = base_bytes.div_ceil(COW_CHUNK_BYTES);
    let metadata_chunks = (chunks * METADATA_BYTES_PER_CHUNK).div_ceil(COW_CHUNK_BYTES);
    // One chunk for the header, one metadata area that is always begun.
    (chunks + metadata_chunks + 2) * COW_CHUNK_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fully_rewritten_image_fits() {
        // Format: header chunk, then areas of one metadata chunk (2048 entries) and the 2048 chunks it
        // describes.
        for base_bytes in
            [1, COW_CHUNK_BYTES, 2048 * COW_CHUNK_BYTES, 2049 * COW_CHUNK_BYTES, 8 << 30, (8 << 30) + 4096]
        {
            let chunks = base_bytes.div_ceil(COW_CHUNK_BYTES);
            let needed = (1 + chunks.div_ceil(2048) + chunks) * COW_CHUNK_BYTES;
            assert!(cow_bytes(base_bytes) >= needed, "{base_bytes}");
        }
    }
}
