//! The doing: asking registries, and bringing home what they have.

mod download;
mod exchange;
mod fetch;
mod file;
mod progress;
mod resolve;

use std::sync::Arc;

use crate::auth::{Authenticator, Keychain};
use crate::error::RegistryError;
use crate::settings::Settings;
use crate::transport::Transport;

pub use file::FileRequest;
pub use progress::Progress;

/// Talks to registries and file servers. Clones share connections and tokens.
#[derive(Clone, Debug)]
pub struct Client {
    transport: Transport,
    authenticator: Arc<Authenticator>,
}

impl Client {
    /// A client with these settings, for the owner of this keychain.
    ///
    /// # Errors
    /// Where the settings name a proxy that is none.
    pub fn new(settings: &Settings, keychain: Keychain) -> Result<Self, RegistryError> {
        Ok(Self {
            transport: Transport::new(settings)?,
            authenticator: Arc::new(Authenticator::new(keychain)),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{BlobStore, Reference, Resolved, Security};

    /// Compiles only if the daemon can spawn what it awaits.
    #[allow(dead_code, reason = "only its types are of interest")]
    fn futures_are_send(
        client: &Client,
        store: &BlobStore,
        reference: &Reference,
        image: &Resolved,
        file: &FileRequest,
    ) {
        fn send<T: Send>(_: T) {}
        let tell = |_: Progress| ();
        send(client.resolve(store, reference, Security::Verified));
        send(client.fetch(store, image, tell));
        send(client.download_file(file, Path::new("x"), tell));
        send(client.fetch_text("x", 1, Security::Verified));
    }
}
