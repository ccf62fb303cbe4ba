use http::Method;

use super::{Client, ClientError, path};
use crate::lost_found::{LostThing, RestoreLost, RestoredThing};

impl Client {
    /// What is in lost+found.
    pub async fn lost_found(&self) -> Result<Vec<LostThing>, ClientError> {
        self.get("/v1/lost-found", &()).await
    }

    /// Brings something back to where it lay.
    pub async fn lost_restore(&self, name: &str, how: &RestoreLost) -> Result<RestoredThing, ClientError> {
        self.json(Method::POST, &path(&["lost-found", name, "restore"]), how).await
    }

    /// Removes something for good.
    pub async fn lost_delete(&self, name: &str) -> Result<(), ClientError> {
        self.json(Method::DELETE, &path(&["lost-found", name]), &()).await
    }
}
