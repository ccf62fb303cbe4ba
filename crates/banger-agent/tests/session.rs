//! The session layer over a real socket: greeting, multiplexer, HTTP, and hosts that come and go.
#![allow(clippy::unwrap_used, reason = "clippy sees tests only in functions marked as such")]

mod host;

use std::sync::Arc;
use std::time::Duration;

use banger_agent::agent::Agent;
use banger_agent::init::supervisor::Supervisor;
use banger_agent::session::{SessionEnd, serve_port};
use banger_guest_protocol::PROTOCOL_VERSION;
use banger_guest_protocol::frame::ExecSpec;
use banger_guest_protocol::messages::{Health, Phase};
use banger_guest_protocol::preamble::{FLUSH_LEN, SessionId, greeting};
use host::Host;
use hyper::StatusCode;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

fn agent() -> Arc<Agent> {
    let (ours, _) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    Arc::new(Agent::new(Supervisor::new(ours)))
}

/// Starts a guest that serves one session; the other end is the host's.
fn guest() -> (UnixStream, tokio::task::JoinHandle<SessionEnd>) {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let serving = tokio::spawn(async move { serve_port(&mut theirs, &agent()).await.unwrap() });
    (ours, serving)
}

#[tokio::test]
async fn a_host_is_greeted_and_served() {
    let (channel, serving) = guest();
    let host = Host::connect(channel).await.unwrap();
    assert_eq!(host.hello.protocol, PROTOCOL_VERSION);

    let (status, body) = host.request("GET", "/v1/health", "").await.unwrap();
    let health: Health = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, health.phase, health.exec_sessions), (StatusCode::OK, Phase::AwaitingConfigure, 0));

    for (method, path, body, expected) in [
        ("GET", "/v1/nothing", "", StatusCode::NOT_FOUND),
        ("POST", "/v1/health", "", StatusCode::METHOD_NOT_ALLOWED),
        ("POST", "/v1/configure", "{", StatusCode::BAD_REQUEST),
        ("GET", "/v1/exec", "", StatusCode::UPGRADE_REQUIRED),
    ] {
        let (status, answer) = host.request(method, path, body).await.unwrap();
        assert_eq!(status, expected, "{method} {path}");
        assert!(String::from_utf8_lossy(&answer).contains("message"), "{method} {path}");
    }
    let refusal = host.exec(ExecSpec::default()).await.err().unwrap().to_string();
    assert!(refusal.contains("no root filesystem"), "{refusal}");

    drop(host);
    let end = tokio::time::timeout(Duration::from_secs(5), serving).await.unwrap().unwrap();
    assert_eq!(end, SessionEnd::HungUp);
}

#[tokio::test]
async fn a_greeting_is_found_behind_left_overs_and_repeats_are_dropped() {
    let (mut channel, _serving) = guest();
    channel.write_all(b"left over\nBANGER-HOST half").await.unwrap();
    // An earlier host that greeted twice and died: its session must not stand in the new one's way.
    let old = greeting(&SessionId::from_random([7; 16]));
    channel.write_all(&old).await.unwrap();
    channel.write_all(&old).await.unwrap();
    // Cut in the middle of a repeat, so that the guest sees it in two pieces.
    channel.write_all(&old[..10]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    channel.write_all(&old[10..]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    // A yamux ping: version 0, type 2, SYN, stream 0, and some value. It is answered only when the repeats
    // are gone.
    channel.write_all(&[0, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9]).await.unwrap();
    let mut seen = Vec::new();
    let pong = [0, 2, 0, 2, 0, 0, 0, 0, 0, 0, 0, 9];
    let search = async {
        while !seen.windows(pong.len()).any(|window| window == pong) {
            tokio::io::AsyncReadExt::read_buf(&mut channel, &mut seen).await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(5), search).await.unwrap();
}

#[tokio::test]
async fn the_next_host_ends_the_session_of_one_that_vanished() {
    let (mut channel, serving) = guest();
    channel.write_all(&greeting(&SessionId::from_random([1; 16]))).await.unwrap();
    // It died while it was sending a frame of 1000 bytes; the next one begins with its flush.
    channel.write_all(&[0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 3, 0xE8]).await.unwrap();
    channel.write_all(&[0xFF; 2000]).await.unwrap();
    let end = tokio::time::timeout(Duration::from_secs(5), serving).await.unwrap().unwrap();
    assert_eq!(end, SessionEnd::HungUp);
}

#[tokio::test]
async fn a_host_whose_session_was_lost_is_told() {
    let (mut channel, _serving) = guest();
    // A yamux frame that opens a stream: this host was greeted by a session that is no more.
    channel.write_all(&[0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0]).await.unwrap();
    let mut flush = vec![0; FLUSH_LEN];
    let read = tokio::io::AsyncReadExt::read_exact(&mut channel, &mut flush);
    tokio::time::timeout(Duration::from_secs(5), read).await.unwrap().unwrap();
    assert_eq!(flush, [0xFF; FLUSH_LEN]);
    // The same channel serves its next session.
    let host = Host::connect(channel).await.unwrap();
    assert_eq!(host.request("GET", "/v1/health", "").await.unwrap().0, StatusCode::OK);
}

#[tokio::test]
async fn no_host_is_told_from_a_host_that_left() {
    let (channel, serving) = guest();
    drop(channel);
    assert_eq!(serving.await.unwrap(), SessionEnd::HostAbsent);
}
