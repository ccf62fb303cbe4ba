//! Failures of the connection itself, told apart by their types.

use std::error::Error;
use std::io;
use std::time::Duration;

use crate::error::{Asked, RegistryError};

/// What made a request fail before there was an answer.
pub(super) fn of_request(asked: Asked, proxy: Option<String>, source: reqwest::Error) -> RegistryError {
    // The address may hold a signature that is as good as a password.
    let source = source.without_url();
    match tls_error(&source) {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
            return RegistryError::Untrusted { asked, source };
        }
        Some(rustls::Error::InvalidMessage(_)) => return RegistryError::PlainHttp { host: asked.host },
        _ => {}
    }
    if source.is_connect() || source.is_timeout() {
        RegistryError::Unreachable { asked, proxy, source }
    } else {
        RegistryError::Interrupted { asked, source }
    }
}

/// What made an answer end before its end.
pub(super) fn of_body(asked: Asked, source: reqwest::Error) -> RegistryError {
    RegistryError::Interrupted { asked, source: source.without_url() }
}

pub(super) fn stalled(asked: Asked, after: Duration) -> RegistryError {
    RegistryError::Stalled { asked, after }
}

/// The TLS library's own error: it travels inside an `io::Error`, whose `source` skips it.
fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref() {
            return Some(tls);
        }
        if let Some(inner) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            let inner: &'a (dyn Error + 'static) = inner;
            if let Some(tls) = tls_error(inner) {
                return Some(tls);
            }
        }
        next = error.source();
    }
    None
}
