//! The way to a host: TLS, proxies, redirects, patience. Knows nothing of images and holds no credentials.

mod connector;
mod endpoint;
mod fault;
mod patience;
mod proxy;
mod reply;
mod roots;
mod send;

pub(crate) use endpoint::{Endpoint, authority, is_loopback};
pub(crate) use patience::Patience;
pub(crate) use reply::Reply;
pub(crate) use send::{Call, Transport};
