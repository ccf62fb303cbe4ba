//! The HTTP clients: one for most hosts, and others where the TLS or the way differs.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use reqwest::{Client, Url};
use rustls::RootCertStore;

use super::endpoint::is_loopback;
use super::proxy::ProxyTable;
use super::roots;
use crate::error::RegistryError;
use crate::settings::{Certificates, Settings};

/// Most clients of single hosts that are kept.
const MAX_CLIENTS: usize = 64;

/// Makes HTTP clients and keeps them, because they keep connections.
#[derive(Debug)]
pub(super) struct Connector {
    certificates: Certificates,
    connect_timeout: Duration,
    proxies: ProxyTable,
    roots: OnceLock<RootCertStore>,
    clients: Mutex<HashMap<Kind, Client>>,
}

/// What makes one client different from another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Kind {
    /// The certificates that are believed for this host alone, and when they were written.
    own: Vec<(PathBuf, Option<SystemTime>)>,
    verify: bool,
    /// Past all proxies.
    direct: bool,
}

impl Connector {
    pub(super) fn new(settings: &Settings) -> Result<Self, RegistryError> {
        Ok(Self {
            certificates: settings.certificates.clone(),
            connect_timeout: settings.timeouts.connect,
            proxies: ProxyTable::new(&settings.proxies)?,
            roots: OnceLock::new(),
            clients: Mutex::default(),
        })
    }

    /// The proxy on the way to this address, for messages.
    pub(super) fn proxy_to(&self, url: &Url) -> Option<String> {
        if is_loopback(url) { None } else { self.proxies.on_the_way(url) }
    }

    /// The client for this address.
    pub(super) async fn client(self: &Arc<Self>, url: &Url, verify: bool) -> reqwest::Result<Client> {
        let (this, url) = (Arc::clone(self), url.clone());
        // Certificates are read from files, hundreds of them the first time.
        let made = tokio::task::spawn_blocking(move || this.find_or_make(&url, verify)).await;
        made.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }

    fn find_or_make(&self, url: &Url, verify: bool) -> reqwest::Result<Client> {
        let files = self.host_files(url, verify);
        let own = files.iter().map(|file| (file.clone(), written_at(file))).collect();
        let kind = Kind { own, verify, direct: is_loopback(url) };
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&kind) {
            return Ok(client.clone());
        }
        let mut store = self.roots.get_or_init(|| roots::load(&self.certificates.roots)).clone();
        roots::add_files(&mut store, files.iter().map(PathBuf::as_path));
        let client = self.make(store, &kind)?;
        if clients.len() >= MAX_CLIENTS {
            clients.clear();
        }
        clients.insert(kind, client.clone());
        Ok(client)
    }

    fn host_files(&self, url: &Url, verify: bool) -> Vec<PathBuf> {
        if !verify || url.scheme() != "https" {
            return Vec::new();
        }
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or_default();
        let mut names = vec![host.to_owned(), format!("{host}:{port}")];
        if host == "registry-1.docker.io" {
            names.push("docker.io".to_owned());
        }
        roots::host_files(&self.certificates.host_dirs, &names)
    }

    fn make(&self, store: RootCertStore, kind: &Kind) -> reqwest::Result<Client> {
        // `no_proxy` switches off the look into the environment, not the proxies that follow.
        let mut builder = Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .retry(reqwest::retry::never())
            .connect_timeout(self.connect_timeout)
            .user_agent(concat!("banger/", env!("CARGO_PKG_VERSION")));
        if !kind.direct {
            builder = self.proxies.proxies().iter().cloned().fold(builder, reqwest::ClientBuilder::proxy);
        }
        builder.tls_backend_preconfigured(roots::tls_config(store, kind.verify)).build()
    }
}

fn written_at(file: &Path) -> Option<SystemTime> {
    // Unknown differs from every known time, so a client is made anew.
    std::fs::metadata(file).and_then(|meta| meta.modified()).ok()
}
