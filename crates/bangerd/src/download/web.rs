use std::path::Path;

use banger_registry::{FileRequest, Progress, RegistryError, Security};
use futures_util::future::BoxFuture;

use super::{Downloads, Environment};

/// Told how far a download is.
pub type OnProgress<'a> = &'a (dyn Fn(Progress) + Send + Sync);

/// Where texts and single files come from.
pub trait Web: Send + Sync {
    /// A text of at most `limit_bytes`.
    fn text<'a>(
        &'a self,
        url: &'a str,
        limit_bytes: u64,
        environment: &'a Environment,
    ) -> BoxFuture<'a, Result<String, RegistryError>>;

    /// Gets a file to `staged`, on from what an earlier attempt left there; checked when it is there.
    /// Dropping the future calls it off.
    fn file<'a>(
        &'a self,
        request: &'a FileRequest,
        staged: &'a Path,
        environment: &'a Environment,
        on_progress: OnProgress<'a>,
    ) -> BoxFuture<'a, Result<(), RegistryError>>;
}

impl Web for Downloads {
    fn text<'a>(
        &'a self,
        url: &'a str,
        limit_bytes: u64,
        environment: &'a Environment,
    ) -> BoxFuture<'a, Result<String, RegistryError>> {
        Box::pin(
            async move { self.client(environment)?.fetch_text(url, limit_bytes, Security::Verified).await },
        )
    }

    fn file<'a>(
        &'a self,
        request: &'a FileRequest,
        staged: &'a Path,
        environment: &'a Environment,
        on_progress: OnProgress<'a>,
    ) -> BoxFuture<'a, Result<(), RegistryError>> {
        Box::pin(async move { self.client(environment)?.download_file(request, staged, on_progress).await })
    }
}
