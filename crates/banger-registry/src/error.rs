//! Everything that can go wrong between here and a registry's content, and what to do about it.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::digest::Digest;
use crate::image::ImageError;

/// Which host was asked for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// Host, with its port where it is not the usual one.
    pub host: String,
    /// What was wanted of it: `the manifest of docker.io/library/alpine:latest`.
    pub what: String,
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {}", self.host, self.what)
    }
}

/// What a server said: its status, and its own words where it had any (bounded, on one line).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub message: Option<String>,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HTTP status {}", self.status)?;
        match &self.message {
            Some(message) => write!(f, ": {message}"),
            None => Ok(()),
        }
    }
}

/// Who the server took us for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// There were no credentials for it.
    Anonymous,
    /// Credentials from this place (a file, a helper) were sent.
    From(String),
    /// There may be credentials, and they could not be read, for this reason.
    Unreadable(String),
}

/// How many bytes something must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    Exactly(u64),
    AtMost(u64),
}

impl Size {
    /// The most bytes that are read.
    #[must_use]
    pub fn limit_bytes(self) -> u64 {
        match self {
            Self::Exactly(bytes) | Self::AtMost(bytes) => bytes,
        }
    }

    pub(crate) fn allows(self, bytes: u64) -> bool {
        match self {
            Self::Exactly(exact) => bytes == exact,
            Self::AtMost(most) => bytes <= most,
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(bytes) => write!(f, "{bytes} bytes"),
            Self::AtMost(bytes) => write!(f, "at most {bytes} bytes"),
        }
    }
}

/// What was wrong with a connection, in the words of whoever found it: the system, the TLS library, or the
/// HTTP library.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Cause(pub(crate) String);

/// Why a pull or a download did not come to its end. The text never repeats its source.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    #[error("the proxy in `{variable}` cannot be used: {problem}")]
    Proxy { variable: &'static str, problem: &'static str },
    #[error("`{url}` cannot be downloaded from: {problem}")]
    Url { url: String, problem: &'static str },
    #[error("{host} offers plain http only, where everybody on the way can read and change what is sent")]
    PlainHttp { host: String },
    #[error("could not reach {asked}{}", via(.proxy))]
    Unreachable { asked: Asked, proxy: Option<String>, source: Cause },
    #[error("could not prove that it is {} that answered: its TLS certificate is not valid here", .asked.host)]
    Untrusted { asked: Asked, source: Cause },
    #[error("asked {asked}, and next to nothing came for {} s", .after.as_secs_f32())]
    Stalled { asked: Asked, after: Duration },
    #[error("asked {asked}, and the connection broke off")]
    Interrupted { asked: Asked, source: Cause },
    #[error("asked {asked} and was sent on in a way that is not followed: {problem}")]
    Redirect { asked: Asked, problem: String },
    #[error("asked {asked}, and access was denied ({answer})")]
    Denied { asked: Asked, answer: Answer, identity: Identity },
    #[error("cannot log in at {}: {problem}", .asked.host)]
    Login { asked: Asked, problem: String },
    #[error("asked {asked}, and it is not there ({answer})")]
    NotFound { asked: Asked, answer: Answer },
    #[error("asked {asked}, and it limits how often it may be asked ({answer}){}", wait(.retry_after))]
    TooManyRequests { asked: Asked, answer: Answer, retry_after: Option<Duration> },
    #[error("asked {asked}, and it could not answer ({answer})")]
    Unavailable { asked: Asked, answer: Answer, retry_after: Option<Duration> },
    #[error("asked {asked}, and it answered with something unexpected ({answer})")]
    Unexpected { asked: Asked, answer: Answer },
    #[error("{what} is larger than the {limit_bytes} bytes that are read of such a thing")]
    TooLarge { what: String, limit_bytes: u64 },
    #[error("{what} must have {expected}, and the server sends {found}")]
    WrongSize { what: String, expected: Size, found: String },
    #[error("{what} must have the digest {expected}, and what the server sent has {found}")]
    WrongDigest { what: String, expected: Digest, found: Digest },
    #[error("`{reference}` is not made for linux/amd64; it is for {}", .offered.join(", "))]
    WrongPlatform { reference: String, offered: Vec<String> },
    #[error("`{reference}` is no image that banger can use")]
    Image { reference: String, source: Box<ImageError> },
    #[error("{what} is not UTF-8 text")]
    NotText { what: String },
    #[error("no room left for {}", .path.display())]
    DiskFull { path: PathBuf },
    #[error("could not {action} {}", .path.display())]
    File { action: &'static str, path: PathBuf, source: io::Error },
}

fn via(proxy: &Option<String>) -> String {
    proxy.as_ref().map(|proxy| format!(" through the proxy {proxy}")).unwrap_or_default()
}

fn wait(retry_after: &Option<Duration>) -> String {
    match retry_after {
        Some(wait) => format!("; it asks to wait for {} s", wait.as_secs()),
        None => String::new(),
    }
}

impl RegistryError {
    /// What a person can do about it, if anything in particular.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Proxy { variable, .. } => {
                format!("set {variable} to something like http://proxy.example:3128, or unset it")
            }
            Self::PlainHttp { host } => {
                format!("use https, or allow plain http for {host} with --insecure")
            }
            Self::Unreachable { asked, proxy: None, .. } => {
                format!("check the name {} and the network; behind a proxy, set HTTPS_PROXY", asked.host)
            }
            Self::Unreachable { proxy: Some(_), .. } => {
                "check the proxy, or name the host in NO_PROXY if it is to be reached directly".to_owned()
            }
            Self::Untrusted { asked: Asked { host, .. }, .. } => format!(
                "put the certificate of its CA into /etc/docker/certs.d/{host}/ca.crt, or name it in SSL_CERT_FILE; \
                 --insecure accepts any certificate"
            ),
            Self::Stalled { .. } | Self::Interrupted { .. } | Self::Unavailable { .. } => {
                "try again: what has arrived is kept".to_owned()
            }
            Self::Denied { asked: Asked { host, .. }, identity, .. } => match identity {
                Identity::Anonymous => {
                    format!("check the name; if it is private, log in with `docker login {host}`")
                }
                Identity::From(place) => {
                    format!(
                        "the credentials from {place} were sent; check the name, or `docker login {host}`"
                    )
                }
                Identity::Unreadable(problem) => {
                    format!("credentials for {host} could not be used: {problem}")
                }
            },
            Self::Login { asked, .. } => format!("try `docker login {}`", asked.host),
            Self::NotFound { .. } => "check the name and the tag".to_owned(),
            Self::TooManyRequests { asked, .. } => {
                format!("wait, or log in with `docker login {}`: limits are higher then", asked.host)
            }
            Self::WrongDigest { .. } | Self::WrongSize { .. } => {
                "what was sent is not what was published: nothing of it was kept".to_owned()
            }
            Self::DiskFull { .. } => {
                "free some space; `banger image prune` removes what no image needs".to_owned()
            }
            _ => return None,
        };
        Some(hint)
    }

    /// Whether asking again may help.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::Stalled { .. }
                | Self::Interrupted { .. }
                | Self::TooManyRequests { .. }
                | Self::Unavailable { .. }
        )
    }

    /// How long the server asked to be left alone.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::TooManyRequests { retry_after, .. } | Self::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// A failed touch of a file; a full disk is told from all others.
    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        let path = path.into();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path },
            _ => Self::File { action, path, source },
        }
    }
}
