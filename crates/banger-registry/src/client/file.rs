//! Single files and texts from a URL: bundles and catalogs.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use reqwest::Url;

use super::Client;
use super::download::{Source, Wanted};
use super::progress::{Progress, Tally};
use crate::answer;
use crate::digest::Digest;
use crate::error::{RegistryError, Size};
use crate::printable::printable;
use crate::settings::Security;
use crate::store::{Flights, Sink};
use crate::transport::{Call, Endpoint, RetryPolicy, authority, is_loopback};

/// Files that are being downloaded, by whichever client.
static FLIGHTS: LazyLock<Flights<PathBuf>> = LazyLock::new(Flights::default);

/// A file to download. Not `Debug`: a URL's query may be as good as a password.
#[derive(Clone, PartialEq, Eq)]
pub struct FileRequest {
    pub url: String,
    /// What its bytes must hash to.
    pub digest: Digest,
    pub size: Size,
    pub security: Security,
}

impl Client {
    /// Downloads a file to `staged`, from where an earlier call stopped, and leaves it there whole, checked
    /// and flushed.
    ///
    /// The caller gives it its final name. Several calls for one `staged` take turns.
    ///
    /// # Errors
    /// Where the file cannot be had, or is not what its digest and size promise; then nothing is left at
    /// `staged`.
    pub async fn download_file(
        &self,
        request: &FileRequest,
        staged: &Path,
        progress: impl Fn(Progress) + Send + Sync,
    ) -> Result<(), RegistryError> {
        let (endpoint, url) = site(&request.url, request.security)?;
        let what = without_secrets(&url);
        let total = match request.size {
            Size::Exactly(bytes) => bytes,
            Size::AtMost(_) => 0,
        };
        let tally = Tally::new(total, &progress);
        let turn = FLIGHTS.enter(&staged.to_owned(), || ()).await;
        let mut sink = Sink::open(staged, request.size.limit_bytes(), turn).await?;
        let wanted = Wanted { what: &what, digest: request.digest, size: request.size };
        let source = Source::File { endpoint: &endpoint, url: &url };
        let downloaded = self.download(&source, &wanted, &mut sink, &mut tally.share()).await;
        tally.end();
        downloaded
    }

    /// Fetches a text of at most `limit_bytes`.
    ///
    /// # Errors
    /// Where it cannot be had, is longer, or is not UTF-8.
    pub async fn fetch_text(
        &self,
        url: &str,
        limit_bytes: u64,
        security: Security,
    ) -> Result<String, RegistryError> {
        let (endpoint, url) = site(url, security)?;
        let what = without_secrets(&url);
        let mut retries = RetryPolicy::at_first_contact(self.transport.retries);
        let bytes = loop {
            let attempt = async {
                let reply = self.transport.send(&endpoint, Call::get(url.clone(), &what)).await?;
                answer::successful(reply).await?.bytes(limit_bytes).await
            };
            match attempt.await {
                Ok(bytes) => break bytes,
                Err(failure) => retries.wait_out(failure).await?,
            }
        };
        String::from_utf8(bytes).map_err(|_| RegistryError::NotText { what })
    }
}

/// A URL without its query, which may be as good as a password.
fn without_secrets(url: &Url) -> String {
    printable(&format!("{}://{}{}", url.scheme(), authority(url), url.path()), 200)
}

/// What is no URL, without what could be a password in it.
fn text_without_secrets(text: &str) -> String {
    let text = text.split(['?', '#']).next().unwrap_or_default();
    let rest = text.rsplit_once('@').map_or_else(|| text.to_owned(), |(_, rest)| format!("…@{rest}"));
    printable(&rest, 200)
}

/// The host of a URL that may be downloaded from.
fn site(text: &str, security: Security) -> Result<(Endpoint, Url), RegistryError> {
    let wrong = |problem| RegistryError::Url { url: text_without_secrets(text), problem };
    let url: Url = text.parse().map_err(|_| wrong("it is no URL"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(RegistryError::Url {
            url: without_secrets(&url),
            problem: "it has a user name or password in it",
        });
    }
    match url.scheme() {
        "https" => {}
        "http" if security == Security::Insecure || is_loopback(&url) => {}
        "http" => return Err(RegistryError::PlainHttp { host: authority(&url) }),
        _ => return Err(wrong("it begins with neither https:// nor http://")),
    }
    let mut base = url.clone();
    base.set_path("/");
    base.set_query(None);
    base.set_fragment(None);
    Ok((Endpoint { name: authority(&url), base, security }, url))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_are_not_downloaded_from_are_told_with_their_reason() {
        for (url, said) in [
            ("", "it is no URL"),
            ("catalog.json", "it is no URL"),
            ("file:///etc/passwd", "neither https:// nor http://"),
            ("ftp://h/x", "neither https:// nor http://"),
            ("https://user:hunter2@h/x", "a user name or password"),
            ("https//user:hunter2@h/x?sig=hunter2", "`…@h/x` cannot"),
            ("ftp://h/x?sig=hunter2", "`ftp://h/x` cannot"),
            ("http://h.example/x", "h.example offers plain http only"),
            ("http://localhost.example/x", "offers plain http only"),
        ] {
            let error = site(url, Security::Verified).unwrap_err();
            let text = format!("{error} {error:?}");
            assert!(text.contains(said) && !text.contains("hunter2"), "{url}: {text}");
        }
        for url in ["https://h/x", "http://localhost:1/x", "http://[::1]/x"] {
            assert!(site(url, Security::Verified).is_ok(), "{url}");
        }
        assert!(site("http://h.example/x", Security::Insecure).is_ok());
        let (endpoint, url) = site("https://h:8443/a?sig=hunter2#x", Security::Verified).unwrap();
        assert_eq!(endpoint.base.as_str(), "https://h:8443/");
        assert_eq!(without_secrets(&url), "https://h:8443/a");
    }
}
