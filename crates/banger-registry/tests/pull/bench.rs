//! A client with little patience, and a store of its own.

use std::path::PathBuf;
use std::time::Duration;

use banger_registry::{
    BlobLease, BlobStore, Certificates, Client, Keychain, Progress, Proxies, Reference, RegistryError,
    Resolved, Retries, Roots, Security, Settings, Timeouts,
};

use crate::server::Server;

pub(crate) fn settings() -> Settings {
    Settings {
        proxies: Proxies::default(),
        certificates: Certificates {
            roots: Roots::Named { file: None, dirs: Vec::new() },
            host_dirs: Vec::new(),
        },
        timeouts: Timeouts { connect: Duration::from_secs(5), stall: Duration::from_millis(600) },
        retries: Retries {
            attempts: 4,
            first_pause: Duration::from_millis(10),
            longest_pause: Duration::from_secs(2),
        },
    }
}

pub(crate) struct Bench {
    pub(crate) client: Client,
    pub(crate) store: BlobStore,
    pub(crate) dir: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::with(&settings(), Keychain::empty())
    }

    pub(crate) fn with(settings: &Settings, keychain: Keychain) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = BlobStore::open(dir.path()).unwrap();
        Self { client: Client::new(settings, keychain).unwrap(), store, dir }
    }

    /// Another daemon on the same files.
    pub(crate) fn restarted(self) -> Self {
        let store = BlobStore::open(self.dir.path()).unwrap();
        Self { client: Client::new(&settings(), Keychain::empty()).unwrap(), store, ..self }
    }

    pub(crate) async fn resolve(&self, reference: &str) -> Result<Resolved, RegistryError> {
        let reference: Reference = reference.parse().unwrap();
        self.client.resolve(&self.store, &reference, Security::Verified).await
    }

    pub(crate) async fn fetch(&self, image: &Resolved) -> Result<Vec<BlobLease>, RegistryError> {
        self.client.fetch(&self.store, image, |_| ()).await
    }

    /// Resolves `team/app:1` and fetches it; gives the last progress too.
    pub(crate) async fn pull(&self, server: &Server) -> Result<(Vec<BlobLease>, Progress), RegistryError> {
        let image = self.resolve(&app(server)).await?;
        let last = std::sync::Mutex::new(Progress::default());
        let leases = self.client.fetch(&self.store, &image, |now| *last.lock().unwrap() = now).await?;
        Ok((leases, last.into_inner().unwrap()))
    }

    /// Every file of the store, relative to it.
    pub(crate) fn files(&self, part: &str) -> Vec<PathBuf> {
        let dir = self.dir.path().join(part);
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }
}

pub(crate) fn app(server: &Server) -> String {
    format!("{}/team/app:1", server.address)
}

/// All that a person could get to see of an error.
pub(crate) fn shown(error: &RegistryError) -> String {
    let mut text = format!("{error} | {:?} | {error:?}", error.hint());
    let mut next = std::error::Error::source(error);
    while let Some(source) = next {
        text += &format!(" | {source}");
        next = source.source();
    }
    text
}
