use http::Method;

use super::{Client, ClientError, EventStream, path};
use crate::bundle::MakeBundle;
use crate::image::{Image, ImportImage, ListImages, PruneImages, PrunedImages, PullImage};

impl Client {
    pub async fn images(&self, which: ListImages) -> Result<Vec<Image>, ClientError> {
        self.get("/v1/images", &which).await
    }

    pub async fn image(&self, name: &str) -> Result<Image, ClientError> {
        self.get(&path(&["images", name]), &()).await
    }

    /// Result: [`Image`].
    pub async fn image_pull(&self, which: &PullImage) -> Result<EventStream, ClientError> {
        self.operation(Method::POST, "/v1/images/pull", which).await
    }

    /// Result: [`Image`].
    pub async fn image_import(&self, what: &ImportImage) -> Result<EventStream, ClientError> {
        self.operation(Method::POST, "/v1/images/import", what).await
    }

    /// Result: [`Image`].
    pub async fn image_promote(&self, name: &str) -> Result<EventStream, ClientError> {
        self.operation(Method::POST, &path(&["images", name, "promote"]), &()).await
    }

    /// Result: [`Bundle`](crate::bundle::Bundle).
    pub async fn image_bundle(&self, name: &str, how: &MakeBundle) -> Result<EventStream, ClientError> {
        self.operation(Method::POST, &path(&["images", name, "bundle"]), how).await
    }

    pub async fn images_prune(&self, how: PruneImages) -> Result<PrunedImages, ClientError> {
        self.json(Method::POST, "/v1/images/prune", &how).await
    }

    pub async fn image_delete(&self, name: &str) -> Result<(), ClientError> {
        self.json(Method::DELETE, &path(&["images", name]), &()).await
    }
}
