//! The doing: asking registries, and bringing home what they have.

mod download;
mod exchange;
mod fetch;
mod file;
mod progress;
mod resolve;

use std::path::PathBuf;
use std::sync::Arc;

use crate::auth::{Authenticator, Keychain};
use crate::error::RegistryError;
use crate::settings::Settings;
use crate::store::Flights;
use crate::transport::Transport;

pub use file::FileRequest;
pub use progress::Progress;

/// Talks to registries and file servers. Clones share connections and tokens.
#[derive(Clone, Debug)]
pub struct Client {
    transport: Transport,
    authenticator: Arc<Authenticator>,
    /// Files that are being downloaded.
    flights: Flights<PathBuf>,
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
            flights: Flights::default(),
        })
    }
}
