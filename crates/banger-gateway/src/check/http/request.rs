//! The head of one request: which name it is for, how long its body is, and whether it may switch protocols.

use httparse::{EMPTY_HEADER, Header, Status};

use crate::policy::{Agreement, Name, NameProblem, Refusal, RefusalCode};

use super::body::Body;
use super::malformed;
use crate::check::too_large;

/// As many as the strictest common server takes, and more than any client sends.
const MAX_HEADERS: usize = 128;

#[derive(Debug)]
pub(super) struct Request {
    pub(super) body: Body,
    pub(super) switch: Option<Switch>,
}

/// What the connection may become after the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Switch {
    Upgrade,
    /// `Upgrade: h2c`. Clients offer it routinely; that a server takes it would hide all other requests.
    Http2,
    Connect,
}

impl Switch {
    pub(super) fn is_agreed_by(self, status: u16) -> bool {
        match self {
            Self::Upgrade | Self::Http2 => status == 101,
            Self::Connect => (200..300).contains(&status),
        }
    }
}

/// Whether a head may go on with this byte. Lines end in CR LF and in nothing else, and start with no white
/// space.
pub(super) fn check_byte(head: &[u8], byte: u8) -> Result<(), Refusal> {
    let last = head.last().copied();
    match byte {
        0 => Err(malformed("it has a NUL in its head")),
        b'\n' if last != Some(b'\r') => Err(malformed("a line ends in LF alone")),
        _ if last == Some(b'\r') && byte != b'\n' => Err(malformed("it has a CR inside a line")),
        b' ' | b'\t' if last == Some(b'\n') => Err(malformed("a header goes on in another line")),
        b'\n' if !head.contains(&b'\n') => check_request_line(head),
        _ => Ok(()),
    }
}

/// A request without a version is complete with its first line, so it is not left to wait for more.
fn check_request_line(line: &[u8]) -> Result<(), Refusal> {
    if line.starts_with(b"PRI ") {
        return Err(cleartext_http2());
    }
    if line != b"\r" && !line.windows(5).any(|window| window.eq_ignore_ascii_case(b"HTTP/")) {
        return Err(malformed("it has no version, as in HTTP/0.9, and so no Host"));
    }
    Ok(())
}

pub(super) fn cleartext_http2() -> Refusal {
    Refusal::new(
        RefusalCode::CleartextHttp2,
        "HTTP/2 without TLS is not let through where names are compared; use HTTP/1.1 or https",
    )
}

pub(super) fn read(head: &[u8], agreement: &Agreement) -> Result<Request, Refusal> {
    let mut headers = [EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(Status::Complete(length)) if length == head.len() => {}
        Ok(_) => return Err(malformed("its head ends somewhere else than it seems to")),
        Err(httparse::Error::TooManyHeaders) => return Err(too_large("the head of an HTTP request")),
        Err(error) => return Err(malformed(&error.to_string())),
    }
    let (Some(method), Some(target)) = (request.method, request.path) else {
        return Err(malformed("it has no method or no target"));
    };
    let is_connect = method == "CONNECT";
    check_host(request.headers, agreement)?;
    check_target(target, is_connect, agreement)?;
    check_lookalikes(request.headers)?;
    let body = body(request.headers, request.version == Some(1))?;
    if is_connect && !body.is_whole() {
        return Err(malformed("a CONNECT has a body"));
    }
    let switch = if is_connect { Some(Switch::Connect) } else { upgrade(request.headers)? };
    Ok(Request { body, switch })
}

fn values<'a>(headers: &'a [Header<'a>], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
}

fn check_host(headers: &[Header<'_>], agreement: &Agreement) -> Result<(), Refusal> {
    let mut hosts = values(headers, "host");
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(malformed("it has more than one Host"));
    }
    let name = host.map(|host| authority_name(host.trim_ascii())).transpose()?.flatten();
    agreement.permits(name.as_ref(), "the Host of an HTTP request")
}

/// `/path` and `*` leave the name to the Host. Whatever else has a name in it must have a permitted one.
fn check_target(target: &str, is_connect: bool, agreement: &Agreement) -> Result<(), Refusal> {
    let authority = if is_connect {
        target
    } else if target.starts_with('/') || target == "*" {
        return Ok(());
    } else {
        let (scheme, rest) =
            target.split_once("://").ok_or_else(|| malformed("its target is no path and no URL"))?;
        if scheme.is_empty() || !scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(malformed("its target is no URL"));
        }
        rest.split(['/', '?', '#']).next().unwrap_or(rest)
    };
    let name = authority_name(authority.as_bytes())?;
    agreement.permits(name.as_ref(), "the target of an HTTP request")
}

/// The name in `NAME[:PORT]`; none where it is empty or an address. A user's name before it is refused:
/// programs disagree about where it ends.
fn authority_name(authority: &[u8]) -> Result<Option<Name>, Refusal> {
    let colon = authority.iter().rposition(|byte| *byte == b':');
    let (host, port) = match colon {
        Some(colon) if !authority.ends_with(b"]") => (&authority[..colon], &authority[colon + 1..]),
        _ => (authority, &[][..]),
    };
    if !port.iter().all(u8::is_ascii_digit) {
        return Err(malformed("the port of its Host or target is no number"));
    }
    if host.is_empty() || is_v6_literal(host) {
        return Ok(None);
    }
    match Name::from_bytes(host) {
        Ok(name) => Ok(Some(name)),
        Err(NameProblem::Number) => Ok(None),
        Err(problem) => Err(malformed(&format!("its Host or target is no name: {problem}"))),
    }
}

fn is_v6_literal(host: &[u8]) -> bool {
    let inner = host.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]"));
    inner
        .is_some_and(|inner| inner.iter().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.')))
}

/// CGI, WSGI and their like make one variable of `Content-Length` and `Content_Length`.
fn check_lookalikes(headers: &[Header<'_>]) -> Result<(), Refusal> {
    const READ: [&str; 2] = ["content-length", "transfer-encoding"];
    for Header { name, .. } in headers {
        let with_hyphens = name.replace('_', "-");
        if name.contains('_') && READ.iter().any(|read| with_hyphens.eq_ignore_ascii_case(read)) {
            return Err(malformed("a header that gives its length is written with `_`"));
        }
    }
    Ok(())
}

fn body(headers: &[Header<'_>], is_http11: bool) -> Result<Body, Refusal> {
    let mut lengths = values(headers, "content-length");
    let mut codings = values(headers, "transfer-encoding");
    let (length, coding) = (lengths.next(), codings.next());
    if lengths.next().is_some() || codings.next().is_some() || (length.is_some() && coding.is_some()) {
        return Err(malformed("its length is given more than once"));
    }
    match (length, coding) {
        (_, Some(coding)) if is_http11 && coding.trim_ascii().eq_ignore_ascii_case(b"chunked") => {
            Ok(Body::chunked())
        }
        (_, Some(_)) => Err(malformed("its Transfer-Encoding is not `chunked`, or older than HTTP/1.1")),
        (Some(length), _) => Ok(Body::of(decimal(length)?)),
        (None, None) => Ok(Body::of(0)),
    }
}

fn decimal(text: &[u8]) -> Result<u64, Refusal> {
    let digits = std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let length = digits.and_then(|digits| digits.parse().ok());
    length.ok_or_else(|| malformed("its Content-Length is no number"))
}

fn upgrade(headers: &[Header<'_>]) -> Result<Option<Switch>, Refusal> {
    let starts_with = |protocol: &[u8], start: &[u8]| {
        protocol.get(..start.len()).is_some_and(|protocol| protocol.eq_ignore_ascii_case(start))
    };
    let mut switch = None;
    for value in values(headers, "upgrade") {
        for protocol in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            if starts_with(protocol, b"TLS") {
                return Err(malformed(
                    "it asks for TLS in the middle of HTTP, where the name would be hidden",
                ));
            }
            if starts_with(protocol, b"h2") || switch == Some(Switch::Http2) {
                switch = Some(Switch::Http2);
            } else {
                switch = Some(Switch::Upgrade);
            }
        }
    }
    Ok(switch)
}
