//! Failures of the connection itself, told apart by their types.

use std::error::Error;
use std::io;
use std::time::Duration;

use crate::error::{Asked, Cause, RegistryError};

/// What made a request fail before there was an answer.
pub(super) fn of_request(asked: Asked, proxy: Option<String>, error: reqwest::Error) -> RegistryError {
    let source = cause(&error);
    match tls_error(&error) {
        Some(rustls::Error::InvalidCertificate(_) | rustls::Error::NoCertificatesPresented) => {
            return RegistryError::Untrusted { asked, source };
        }
        Some(rustls::Error::InvalidMessage(_)) => return RegistryError::PlainHttp { host: asked.host },
        _ => {}
    }
    if error.is_connect() || error.is_timeout() {
        RegistryError::Unreachable { asked, proxy, source }
    } else {
        RegistryError::Interrupted { asked, source }
    }
}

/// What made an answer end before its end.
pub(super) fn of_body(asked: Asked, error: reqwest::Error) -> RegistryError {
    RegistryError::Interrupted { asked, source: cause(&error) }
}

pub(super) fn stalled(asked: Asked, after: Duration) -> RegistryError {
    RegistryError::Stalled { asked, after }
}

/// The innermost error: those around it say "error sending request" and the like. None of them has the
/// address, which may hold a signature that is as good as a password.
fn cause(error: &reqwest::Error) -> Cause {
    let mut innermost: Option<&dyn Error> = error.source();
    while let Some(next) = innermost.and_then(Error::source) {
        innermost = Some(next);
    }
    Cause(innermost.map_or_else(|| "the connection failed".to_owned(), ToString::to_string))
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
