use std::collections::HashSet;

use banger_api::image::{PrunedImage, PrunedImages};
use banger_registry::Digest;

use super::{ImageError, ImageService};

impl ImageService {
    /// Removes the images that no VM uses, the downloads that no image is made of, and what killed daemons
    /// left; or only tells what that would be. An image that is used in place is not touched.
    ///
    /// # Errors
    ///
    /// When something cannot be removed; what went until then is gone.
    pub async fn prune(&self, dry_run: bool) -> Result<PrunedImages, ImageError> {
        let mut pruned = PrunedImages::default();
        let (mut kept, mut candidates) = (Vec::new(), Vec::new());
        for row in self.store.images()? {
            let is_used = !self.store.image_users(&row.id)?.is_empty();
            if is_used || row.details.in_place.is_some() || row.details.unreadable {
                kept.push(row)
            } else {
                candidates.push(row)
            }
        }
        for row in candidates {
            let disk_used_bytes = self.artifacts.disk_used_bytes(&row.id);
            if !dry_run {
                // A VM may have been made of it just now.
                if !self.store.delete_unused_image(&row.id)? {
                    kept.push(row);
                    continue;
                }
                self.remove_files(&row.id).await;
            }
            pruned.images.push(PrunedImage { name: row.name, disk_used_bytes });
        }
        let keep = kept.iter().flat_map(|row| &row.details.blobs);
        let keep: HashSet<Digest> = keep.filter_map(|digest| digest.parse().ok()).collect();
        let freed = self.downloads.blobs().and_then(|blobs| blobs.prune(&keep, dry_run));
        let freed = freed.map_err(|error| ImageError::Prune(error.into()))?;
        (pruned.blobs, pruned.blob_bytes) = (freed.files, freed.bytes);
        pruned.freed_bytes =
            freed.bytes + pruned.images.iter().map(|image| image.disk_used_bytes).sum::<u64>();
        Ok(pruned)
    }
}
