use http::Method;

use super::{Client, ClientError, EventStream, path};
use crate::bundle::MakeBundle;
use crate::catalog::Catalog;
use crate::kernel::{ImportKernel, Kernel, ListKernels, PullKernel};

impl Client {
    pub async fn kernels(&self, which: ListKernels) -> Result<Vec<Kernel>, ClientError> {
        self.get("/v1/kernels", &which).await
    }

    pub async fn kernel(&self, name: &str) -> Result<Kernel, ClientError> {
        self.get(&path(&["kernels", name]), &()).await
    }

    /// Result: [`Kernel`].
    pub async fn kernel_pull(&self, which: &PullKernel) -> Result<EventStream, ClientError> {
        self.operation(Method::POST, "/v1/kernels/pull", which).await
    }

    /// Result: [`Kernel`].
    pub async fn kernel_import(&self, what: &ImportKernel) -> Result<EventStream, ClientError> {
        self.operation(Method::POST, "/v1/kernels/import", what).await
    }

    /// Result: [`Bundle`](crate::bundle::Bundle).
    pub async fn kernel_bundle(&self, name: &str, how: &MakeBundle) -> Result<EventStream, ClientError> {
        self.operation(Method::POST, &path(&["kernels", name, "bundle"]), how).await
    }

    pub async fn kernel_delete(&self, name: &str) -> Result<(), ClientError> {
        self.json(Method::DELETE, &path(&["kernels", name]), &()).await
    }

    /// The catalogs of the user's.
    pub async fn catalogs(&self) -> Result<Vec<Catalog>, ClientError> {
        self.get("/v1/catalogs", &()).await
    }
}
