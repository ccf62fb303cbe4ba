//! The proxy of whoever started the VM, for names on the internet.

use std::io;
use std::time::Duration;

use http::Uri;
use http::header::HeaderValue;
use hyper_util::client::proxy::matcher::Matcher;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::config::ProxyVariables;
use crate::policy::Name;

const HTTP_PORT: u16 = 80;

/// Longest answer of a proxy's, in bytes.
const ANSWER_MAX_LEN: usize = 16 * 1024;
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// Which names go through which proxy.
#[derive(Debug)]
pub(crate) struct Proxies(Option<Matcher>);

/// A proxy that connects to servers for its clients.
#[derive(Clone, Debug)]
pub(crate) struct Proxy {
    host: String,
    port: u16,
    credentials: Option<HeaderValue>,
}

/// Why a proxy is of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyError {
    #[error("the proxy {0} speaks {1}; only http:// proxies are known here")]
    Scheme(String, String),
    #[error("could not connect to the proxy {proxy}")]
    Connect { proxy: String, source: io::Error },
    #[error("the proxy {proxy} hung up")]
    Closed { proxy: String, source: io::Error },
    #[error("the proxy {proxy} refuses: {answer}")]
    Refused { proxy: String, answer: String },
}

impl Proxies {
    pub(crate) fn new(variables: &ProxyVariables) -> Self {
        let ProxyVariables { https_proxy, no_proxy } = variables;
        let matcher = https_proxy.as_deref().filter(|proxy| !proxy.trim().is_empty()).map(|proxy| {
            let builder = Matcher::builder().https(proxy.to_owned());
            builder.no(no_proxy.clone().unwrap_or_default()).build()
        });
        Self(matcher)
    }

    /// The one for connections to the name at the port; none: they go there directly.
    ///
    /// # Errors
    ///
    /// When it is of a kind that is not known here.
    pub(crate) fn of(&self, name: &Name, port: u16) -> Result<Option<Proxy>, ProxyError> {
        // No such name is too odd for a URI.
        let Ok(uri) = format!("https://{}:{port}/", name.as_str()).parse::<Uri>() else { return Ok(None) };
        let Some(found) = self.0.as_ref().and_then(|matcher| matcher.intercept(&uri)) else {
            return Ok(None);
        };
        let host = found.uri().host().unwrap_or_default().to_owned();
        let port = found.uri().port_u16().unwrap_or(HTTP_PORT);
        match found.uri().scheme_str() {
            Some("http") | None => Ok(Some(Proxy { host, port, credentials: found.basic_auth().cloned() })),
            Some(other) => Err(ProxyError::Scheme(format!("{host}:{port}"), other.to_owned())),
        }
    }
}

impl Proxy {
    pub(crate) fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// A connection to the name's server.
    ///
    /// # Errors
    ///
    /// When the proxy cannot be reached, or does not want to.
    pub(crate) async fn connect(&self, name: &Name, port: u16) -> Result<TcpStream, ProxyError> {
        let proxy = || self.address();
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let mut stream = TcpStream::connect((host, self.port))
            .await
            .map_err(|source| ProxyError::Connect { proxy: proxy(), source })?;
        let to = format!("{}:{port}", name.as_str());
        let mut request = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n").into_bytes();
        if let Some(credentials) = &self.credentials {
            request.extend_from_slice(b"Proxy-Authorization: ");
            request.extend_from_slice(credentials.as_bytes());
            request.extend_from_slice(b"\r\n");
        }
        request.extend_from_slice(b"\r\n");
        let exchange = async {
            stream.write_all(&request).await?;
            read_head(&mut stream).await
        };
        let head = tokio::time::timeout(ANSWER_LIMIT, exchange).await.unwrap_or_else(|late| Err(late.into()));
        let head = head.map_err(|source| ProxyError::Closed { proxy: proxy(), source })?;
        match status_of(&head) {
            Some((200..300, _)) => Ok(stream),
            Some((_, line)) => Err(ProxyError::Refused { proxy: proxy(), answer: line }),
            None => Err(ProxyError::Refused { proxy: proxy(), answer: "its answer is no HTTP".into() }),
        }
    }
}

/// Byte by byte: what follows the head is the server's.
async fn read_head(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= ANSWER_MAX_LEN {
            return Err(io::Error::other("its answer does not end"));
        }
        head.push(stream.read_u8().await?);
    }
    Ok(head)
}

/// The status, and the line that it stands in.
fn status_of(head: &[u8]) -> Option<(u16, String)> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    // What is no answer has no status.
    response.parse(head).ok()?;
    let code = response.code?;
    let reason: String =
        response.reason.unwrap_or_default().chars().filter(|char| !char.is_control()).collect();
    Some((code, format!("{code} {reason}").trim_end().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(https_proxy: &str, no_proxy: &str) -> Proxies {
        Proxies::new(&ProxyVariables {
            https_proxy: Some(https_proxy.into()),
            no_proxy: Some(no_proxy.into()),
        })
    }

    fn name(text: &str) -> Name {
        Name::from_user(text).unwrap()
    }

    #[test]
    fn names_go_through_the_proxy_unless_they_are_excepted() {
        let proxies = proxies("http://user:secret@proxy.lan:3128", "example.org,.internal.example");
        let found = proxies.of(&name("github.com"), 443).unwrap().unwrap();
        assert_eq!(found.address(), "proxy.lan:3128");
        assert!(found.credentials.is_some());
        for direct in ["example.org", "www.example.org", "a.internal.example"] {
            assert!(proxies.of(&name(direct), 443).unwrap().is_none(), "{direct}");
        }
        assert!(Proxies::new(&ProxyVariables::default()).of(&name("github.com"), 443).unwrap().is_none());
    }

    #[test]
    fn a_proxy_of_another_kind_is_an_error_that_says_so() {
        let error = proxies("socks5://proxy.lan:1080", "").of(&name("github.com"), 443).unwrap_err();
        assert!(error.to_string().contains("socks5"), "{error}");
    }

    #[tokio::test]
    async fn a_proxys_refusal_is_told_and_its_consent_is_a_connection() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let proxy = Proxy { host: "127.0.0.1".into(), port, credentials: None };
        let answers =
            ["HTTP/1.1 403 Forbidden\r\n\r\n", "nonsense\r\n\r\n", "HTTP/1.0 200 OK\r\nX: y\r\n\r\nfirst"];
        let served = tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let head = read_head(&mut stream).await.unwrap();
                assert!(head.starts_with(b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n"));
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        let error = proxy.connect(&name("example.org"), 443).await.unwrap_err();
        assert!(error.to_string().ends_with("refuses: 403 Forbidden"), "{error}");
        assert!(proxy.connect(&name("example.org"), 443).await.is_err());
        let mut stream = proxy.connect(&name("example.org"), 443).await.unwrap();
        let mut first = String::new();
        stream.read_to_string(&mut first).await.unwrap();
        assert_eq!(first, "first");
        served.await.unwrap();
    }
}
