use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// An answer as `curl` would show it.
#[derive(Debug)]
pub struct HttpAnswer {
    pub status: u16,
    /// Chunked bodies keep their chunk sizes.
    pub body: String,
}

/// One HTTP/1.1 request by hand over a Unix socket. `head` is the request line's method and path, and further
/// headers.
///
/// # Panics
///
/// When nobody answers, or not in HTTP.
#[track_caller]
pub fn http(socket: &Path, method_and_path: &str, headers: &[(&str, &str)], body: &str) -> HttpAnswer {
    let mut stream = UnixStream::connect(socket).expect("the daemon listens");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout can be set");
    let mut request = format!("{method_and_path} HTTP/1.1\r\nhost: banger\r\nconnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    stream.write_all(request.as_bytes()).expect("the daemon takes a request");
    let mut answer = Vec::new();
    // Being hung up on in the middle of it still leaves what came before.
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    HttpAnswer { status: status.unwrap_or_else(|| panic!("no HTTP: {answer:?}")), body: body.to_owned() }
}
