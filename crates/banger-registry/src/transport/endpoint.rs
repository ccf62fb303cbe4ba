//! Whom a request is for, and where it may be sent on to.

use std::net::IpAddr;

use reqwest::Url;

use crate::settings::Security;

/// The host that a pull or a download is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// As people call it: credentials are filed under this name.
    pub(crate) name: String,
    /// Where it answers.
    pub(crate) base: Url,
    pub(crate) security: Security,
}

/// How a permitted address is to be talked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leave {
    /// Whether the host must show a valid certificate.
    pub(crate) verify: bool,
}

impl Endpoint {
    pub(crate) fn is_plain(&self) -> bool {
        self.base.scheme() == "http"
    }

    /// Whether the endpoint may have us ask this address: never a weaker connection than its own.
    pub(crate) fn permits(&self, url: &Url) -> Result<Leave, &'static str> {
        if !url.username().is_empty() || url.password().is_some() {
            return Err("the address has a user name or password in it");
        }
        let same_host = url.host_str() == self.base.host_str();
        match url.scheme() {
            "https" => Ok(Leave { verify: self.security == Security::Verified || !same_host }),
            "http" if !self.is_plain() => Err("it leads from https to plain http"),
            "http" if self.security == Security::Insecure || is_loopback(url) => Ok(Leave { verify: true }),
            "http" => Err("it leads to plain http on another machine"),
            _ => Err("it leads to something that is neither https nor http"),
        }
    }
}

/// Host and port as in `Host:`; the port only where it is not the usual one.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// Whether the host is this machine by its very name.
pub(crate) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(base: &str, security: Security) -> Endpoint {
        Endpoint { name: "x".to_owned(), base: base.parse().unwrap(), security }
    }

    fn leave(endpoint: &Endpoint, url: &str) -> Result<bool, &'static str> {
        endpoint.permits(&url.parse().unwrap()).map(|leave| leave.verify)
    }

    #[test]
    fn a_verified_host_leads_to_https_only() {
        let host = endpoint("https://r.example/", Security::Verified);
        assert_eq!(leave(&host, "https://cdn.example/x"), Ok(true));
        assert!(leave(&host, "http://r.example/x").is_err());
        assert!(leave(&host, "http://localhost/x").is_err());
        assert!(leave(&host, "file:///etc/passwd").is_err());
        assert!(leave(&host, "https://a:b@cdn.example/x").is_err());
    }

    #[test]
    fn a_plain_host_leads_to_plain_hosts_on_this_machine_only() {
        let host = endpoint("http://localhost:5000/", Security::Verified);
        for url in ["http://localhost:1/x", "http://127.3.2.1/x", "http://[::1]:9/x", "https://cdn.example/x"]
        {
            assert_eq!(leave(&host, url), Ok(true), "{url}");
        }
        assert!(leave(&host, "http://cdn.example/x").is_err());
        assert!(leave(&host, "http://localhost.example/x").is_err());
        assert!(leave(&host, "http://[::2]/x").is_err());
    }

    #[test]
    fn insecure_is_about_the_named_host() {
        let tls = endpoint("https://r.example:5000/", Security::Insecure);
        assert_eq!(leave(&tls, "https://r.example:5000/x"), Ok(false));
        assert_eq!(leave(&tls, "https://cdn.example/x"), Ok(true));
        assert!(leave(&tls, "http://r.example:5000/x").is_err());
        let plain = endpoint("http://r.example:5000/", Security::Insecure);
        assert_eq!(leave(&plain, "http://storage.example/x"), Ok(true));
    }
}
