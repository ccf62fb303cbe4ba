//! An image's layers into the store.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::Client;
use super::download::{Source, Wanted};
use super::progress::{Progress, Share, Tally};
use crate::error::{RegistryError, Size};
use crate::image::{Layer, Resolved};
use crate::store::{BlobLease, BlobStore, Sink};

/// How many layers of one image are downloaded at once.
const AT_ONCE: usize = 4;

impl Client {
    /// Brings an image's layers into the store, and gives a lease for each, lowest layer first.
    ///
    /// Layers that are there are not asked for. What breaks off goes on where it stopped, now or in a later
    /// call; a dropped future stops at once. Several calls for one layer download it once.
    ///
    /// # Errors
    /// Where a layer cannot be had, or is not what its digest and size promise; then nothing of that layer is
    /// left.
    pub async fn fetch(
        &self,
        store: &BlobStore,
        image: &Resolved,
        progress: impl Fn(Progress) + Send + Sync,
    ) -> Result<Vec<BlobLease>, RegistryError> {
        // All at once, before the first download: none may be pruned while another is still on its way.
        let leases = image.layers.iter().map(|layer| store.lease(&layer.digest)).collect();
        let tally = Tally::new(image.compressed_bytes(), &progress);
        // A loop, not a closure: rustc cannot tell that a future with a closure over references in it is
        // `Send`.
        let mut fetching = Vec::new();
        for layer in image.distinct_layers() {
            fetching.push(self.fetch_layer(store, image, layer, tally.share()));
        }
        let fetched: Result<(), RegistryError> =
            stream::iter(fetching).buffer_unordered(AT_ONCE).try_collect().await;
        tally.end();
        fetched.map(|()| leases)
    }

    async fn fetch_layer(
        &self,
        store: &BlobStore,
        image: &Resolved,
        layer: &Layer,
        mut share: Share<'_>,
    ) -> Result<(), RegistryError> {
        let Layer { digest, size_bytes, is_foreign, .. } = *layer;
        let look = || share.set(store.partial_bytes(&digest).min(size_bytes), 0);
        let turn = store.flights().enter(&digest, look).await;
        if store.has(&digest, size_bytes) {
            share.set(size_bytes, size_bytes);
            return Ok(());
        }
        // Nobody is asked but the registry: an address in a manifest would have this host ask whomever its
        // author likes.
        let foreign =
            if is_foreign { " (which is to be had from its vendor only, says its manifest)" } else { "" };
        let what = format!("the layer {digest} of {}{foreign}", image.reference);
        let wanted = Wanted { what: &what, digest, size: Size::Exactly(size_bytes) };
        let source =
            Source::Blob { endpoint: &image.endpoint, repository: image.reference.repository(), digest };
        let mut sink = Sink::open(&store.partial_path(&digest), size_bytes, turn).await?;
        self.download(&source, &wanted, &mut sink, &mut share).await?;
        sink.publish(store.blob_path(&digest)).await
    }
}
