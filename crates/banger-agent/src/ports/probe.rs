//! What do TCP listeners speak? HTTPS is tried first, then HTTP; SSH says so by itself.
//!
//! The first question is the start of a TLS conversation, with an empty line after it: a server of HTTP that
//! reads lines then answers as well, instead of waiting for the end of the first. Nothing that is asked
//! changes anything: the second question is for the head of a page.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use banger_guest_protocol::ports::{Listener, Protocol, Service};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

/// Both questions together take less than a second, whoever does not answer.
const FIRST_LIMIT: Duration = Duration::from_millis(450);
const BOTH_LIMIT: Duration = Duration::from_millis(900);

/// Enough to tell the answers apart.
const ANSWER_LEN: usize = 6;

/// Asks all TCP listeners at once.
pub(super) async fn all(listeners: &mut [Listener]) {
    let start = Instant::now();
    let tcp = listeners.iter_mut().filter(|listener| listener.protocol == Protocol::Tcp);
    let probes = tcp.map(|listener| async move {
        listener.service = one(SocketAddr::new(reachable(&listener.addresses), listener.port), start).await;
    });
    futures_util::future::join_all(probes).await;
}

/// Where a listener can be reached from inside.
fn reachable(addresses: &[IpAddr]) -> IpAddr {
    match addresses.first() {
        Some(IpAddr::V6(address)) if address.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        Some(address) if !address.is_unspecified() => *address,
        _ => Ipv4Addr::LOCALHOST.into(),
    }
}

async fn one(at: SocketAddr, start: Instant) -> Option<Service> {
    let hello = [CLIENT_HELLO, b"\r\n\r\n"].concat();
    // One that does not answer in time is asked the other question.
    let first = timeout_at(start + FIRST_LIMIT, ask(at, &hello)).await.ok().flatten();
    if let Some(service) = first.and_then(|answer| judge(&answer)) {
        return Some(service);
    }
    let head = format!("HEAD / HTTP/1.1\r\nHost: localhost:{}\r\nConnection: close\r\n\r\n", at.port());
    // One that answers neither speaks something else.
    let second = timeout_at(start + BOTH_LIMIT, ask(at, head.as_bytes())).await.ok().flatten();
    second.and_then(|answer| judge(&answer))
}

/// The beginning of the answer.
async fn ask(at: SocketAddr, question: &[u8]) -> Option<Vec<u8>> {
    // One who refuses, or hangs up, speaks none of these.
    let mut stream = TcpStream::connect(at).await.ok()?;
    // Whoever speaks first may not take the question, and has said all that matters.
    let _asked = stream.write_all(question).await;
    let mut answer = Vec::with_capacity(ANSWER_LEN);
    while answer.len() < ANSWER_LEN {
        match stream.read_buf(&mut answer).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => break,
        }
    }
    Some(answer)
}

/// What an answer is in.
fn judge(answer: &[u8]) -> Option<Service> {
    match answer {
        // A record of TLS: an alert, or a ServerHello. A ClientHello is our own, from somebody who echoes.
        [0x15, 0x03, ..] | [0x16, 0x03, _, _, _, 0x02, ..] => Some(Service::Https),
        _ if answer.starts_with(b"HTTP/") => Some(Service::Http),
        _ if answer.starts_with(b"SSH-") => Some(Service::Ssh),
        _ => None,
    }
}

/// A ClientHello of TLS 1.2 with extensions for TLS 1.3: what any server answers, be it with an alert.
const CLIENT_HELLO: &[u8] = &[
    // Record: handshake, TLS 1.0, 109 bytes.
    0x16, 0x03, 0x01, 0x00, 0x6d, // Handshake: ClientHello, 105 bytes.
    0x01, 0x00, 0x00, 0x69, // TLS 1.2; 32 bytes that may be any.
    0x03, 0x03, b'b', b'a', b'n', b'g', b'e', b'r', b' ', b'l', b'o', b'o', b'k', b's', b' ', b'w', b'h',
    b'a', b't', b' ', b'l', b'i', b's', b't', b'e', b'n', b's', b' ', b'h', b'e', b'r', b'e', b'.',
    b'.', // No session; eight cipher suites.
    0x00, 0x00, 0x10, 0x13, 0x01, 0x13, 0x02, 0xc0, 0x2f, 0xc0, 0x30, 0xc0, 0x2b, 0xc0, 0x2c, 0x00, 0x9c,
    0x00, 0x2f, // No compression; 48 bytes of extensions.
    0x01, 0x00, 0x00, 0x30, // Server name: localhost.
    0x00, 0x00, 0x00, 0x0e, 0x00, 0x0c, 0x00, 0x00, 0x09, b'l', b'o', b'c', b'a', b'l', b'h', b'o', b's',
    b't', // Groups: x25519, secp256r1.
    0x00, 0x0a, 0x00, 0x06, 0x00, 0x04, 0x00, 0x1d, 0x00, 0x17, // Point formats: uncompressed.
    0x00, 0x0b, 0x00, 0x02, 0x01, 0x00, // Signatures: RSA-PSS, RSA, ECDSA.
    0x00, 0x0d, 0x00, 0x0a, 0x00, 0x08, 0x08, 0x04, 0x04, 0x01, 0x04, 0x03, 0x02, 0x01,
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::net::TcpListener;

    use super::*;

    /// The lengths in it are those of what follows them.
    #[test]
    fn the_client_hello_is_whole() {
        let length = |at: usize| usize::from(CLIENT_HELLO[at]) << 8 | usize::from(CLIENT_HELLO[at + 1]);
        assert_eq!(length(3), CLIENT_HELLO.len() - 5);
        assert_eq!(length(7), CLIENT_HELLO.len() - 9);
        let extensions = 5 + 4 + 2 + 32 + 1 + 2 + 16 + 2;
        assert_eq!(length(extensions), CLIENT_HELLO.len() - extensions - 2);
        let mut at = extensions + 2;
        while at < CLIENT_HELLO.len() {
            at += 4 + length(at + 2);
        }
        assert_eq!(at, CLIENT_HELLO.len());
    }

    proptest! {
        #[test]
        fn any_answer_is_judged(answer: Vec<u8>) {
            judge(&answer);
        }
    }

    /// A server that answers each connection after the question.
    async fn server(answers: &'static [&'static [u8]]) -> Listener {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let mut held = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut question = [0; 5];
                stream.read_exact(&mut question).await.unwrap();
                stream.write_all(answer).await.unwrap();
                held.push(stream);
            }
            std::future::pending::<()>().await;
        });
        Listener {
            protocol: Protocol::Tcp,
            port: at.port(),
            addresses: vec![at.ip()],
            service: None,
            process: None,
        }
    }

    #[tokio::test]
    async fn each_is_told_by_its_answer_and_none_holds_up_the_others() {
        let mut listeners = vec![
            server(&[b"\x16\x03\x03\x00\x50\x02"]).await,
            server(&[b"\x15\x03\x01\x00\x02\x02\x28"]).await,
            server(&[b"HTTP/1.1 400 Bad Request\r\n"]).await,
            server(&[b"<!DOCTYPE HTML>", b"HTTP/1.0 200 OK\r\n"]).await,
            server(&[b"SSH-2.0-OpenSSH_9.7\r\n"]).await,
            server(&[b"-ERR unknown command\r\n", b"-ERR\r\n"]).await,
            server(&[b"", b"HTTP/1.0 404 Not Found\r\n"]).await,
            server(&[CLIENT_HELLO, b"HEAD / HTTP/1.1\r\n"]).await,
            server(&[]).await,
        ];
        let start = Instant::now();
        all(&mut listeners).await;
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        let services: Vec<_> = listeners.iter().map(|listener| listener.service).collect();
        use Service::{Http, Https, Ssh};
        assert_eq!(
            services,
            [Some(Https), Some(Https), Some(Http), Some(Http), Some(Ssh), None, Some(Http), None, None]
        );
    }
}
