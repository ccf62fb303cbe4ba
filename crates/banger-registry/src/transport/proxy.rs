//! Proxies: handed to the HTTP client, and known here for what errors say.

use hyper_util::client::proxy::matcher::Matcher;
use reqwest::{NoProxy, Proxy, Url};

use crate::error::RegistryError;
use crate::settings::Proxies;

/// The proxies of [`Proxies`] after their check.
#[derive(Clone, Debug)]
pub(super) struct ProxyTable {
    proxies: Vec<Proxy>,
    matcher: std::sync::Arc<Matcher>,
}

impl ProxyTable {
    pub(super) fn new(settings: &Proxies) -> Result<Self, RegistryError> {
        let no_proxy = settings.no_proxy.as_deref().unwrap_or_default();
        let mut matcher = Matcher::builder().no(no_proxy);
        let mut proxies = Vec::new();
        // The first that matches is taken, so the most particular come first.
        if let Some(url) = checked("http_proxy", settings.http.as_deref())? {
            proxies.push(Proxy::http(url.as_str()).map_err(|_| unusable("http_proxy"))?);
            matcher = matcher.http(url);
        }
        if let Some(url) = checked("https_proxy", settings.https.as_deref())? {
            proxies.push(Proxy::https(url.as_str()).map_err(|_| unusable("https_proxy"))?);
            matcher = matcher.https(url);
        }
        if let Some(url) = checked("all_proxy", settings.all.as_deref())? {
            proxies.push(Proxy::all(url.as_str()).map_err(|_| unusable("all_proxy"))?);
            matcher = matcher.all(url);
        }
        let proxies =
            proxies.into_iter().map(|proxy| proxy.no_proxy(NoProxy::from_string(no_proxy))).collect();
        Ok(Self { proxies, matcher: std::sync::Arc::new(matcher.build()) })
    }

    pub(super) fn proxies(&self) -> &[Proxy] {
        &self.proxies
    }

    /// The proxy on the way to this address, without its password.
    pub(super) fn on_the_way(&self, url: &Url) -> Option<String> {
        let uri = url.as_str().parse().ok()?;
        let proxy = self.matcher.intercept(&uri)?;
        let proxy = proxy.uri();
        Some(proxy.port_u16().map_or_else(
            || proxy.host().unwrap_or_default().to_owned(),
            |port| format!("{}:{port}", proxy.host().unwrap_or_default()),
        ))
    }
}

fn unusable(variable: &'static str) -> RegistryError {
    RegistryError::Proxy { variable, problem: "it is no address of a proxy" }
}

/// A proxy's address with its scheme. Its text may hold a password and is not shown.
fn checked(variable: &'static str, value: Option<&str>) -> Result<Option<String>, RegistryError> {
    let Some(value) = value else { return Ok(None) };
    let value = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
    let url: Url = value.parse().map_err(|_| unusable(variable))?;
    if !matches!(url.scheme(), "http" | "https" | "socks4" | "socks4a" | "socks5" | "socks5h") {
        return Err(RegistryError::Proxy {
            variable,
            problem: "its scheme is none of http, https, socks4, socks4a, socks5 and socks5h",
        });
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(unusable(variable));
    }
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> ProxyTable {
        ProxyTable::new(&Proxies {
            http: Some("plain.example:3128".to_owned()),
            https: Some("http://user:hunter2@tls.example:8080".to_owned()),
            all: None,
            no_proxy: Some("10.0.0.0/8,.internal,exact.example".to_owned()),
        })
        .unwrap()
    }

    #[test]
    fn the_proxy_on_the_way_is_named_without_its_password() {
        let way = |url: &str| table().on_the_way(&url.parse().unwrap());
        assert_eq!(way("http://a.example/").as_deref(), Some("plain.example:3128"));
        assert_eq!(way("https://a.example/").as_deref(), Some("tls.example:8080"));
        for direct in ["https://10.1.2.3/", "https://a.internal/", "http://exact.example/"] {
            assert_eq!(way(direct), None, "{direct}");
        }
    }

    #[test]
    fn a_bad_proxy_is_told_by_its_variable_only() {
        for bad in ["ftp://user:hunter2@x", "http://", "http://user:hunter2@"] {
            let proxies = Proxies { all: Some(bad.to_owned()), ..Proxies::default() };
            let error = ProxyTable::new(&proxies).unwrap_err();
            let text = format!("{error} {error:?} {:?}", error.hint());
            assert!(text.contains("all_proxy") && !text.contains("hunter2"), "{text}");
        }
    }
}
