//! The way to a host: TLS, proxies, redirects, retries. Knows nothing of images and holds no credentials.

mod connector;
mod endpoint;
mod fault;
mod proxy;
mod reply;
mod retry_policy;
mod roots;
mod send;

pub(crate) use endpoint::{Endpoint, authority, is_loopback};
pub(crate) use reply::Reply;
pub(crate) use retry_policy::RetryPolicy;
pub(crate) use send::{Call, Transport};
