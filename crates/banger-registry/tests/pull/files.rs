//! Single files and texts.

use banger_registry::{Digest, FileRequest, RegistryError, Security, Size};

use crate::bench::{Bench, shown};
use crate::images::noise;
use crate::server::{Reply, Server};

const LEN: usize = 300_000;

fn request(server: &Server, bytes: &[u8], size: Size) -> FileRequest {
    let url = server.url("/bundle.tar.zst?signature=hunter2");
    FileRequest { url, digest: Digest::of(bytes), size, security: Security::Verified }
}

#[tokio::test]
async fn a_file_arrives_in_pieces_and_whole() {
    let file = noise(3, LEN);
    let served = file.clone();
    let server = Server::start(move |request| {
        let reply = Reply::ranged(request, &served);
        if request.earlier < 2 { reply.cut_after(LEN / 3) } else { reply }
    })
    .await;
    let bench = Bench::new();
    for size in [Size::Exactly(LEN as u64), Size::AtMost(1 << 20)] {
        let staged = bench.dir.path().join(format!("{size}"));
        bench.client.download_file(&request(&server, &file, size), &staged, |_| ()).await.unwrap();
        assert_eq!(std::fs::read(&staged).unwrap(), file);
        let before = server.requests().len();
        bench.client.download_file(&request(&server, &file, size), &staged, |_| ()).await.unwrap();
        assert_eq!(server.requests().len(), before, "a whole file was asked for again");
    }
    let starts: Vec<usize> = server.requests().iter().map(|request| request.first_byte()).collect();
    assert_eq!(starts, [0, LEN / 3, 2 * (LEN / 3), 0]);
}

#[tokio::test]
async fn a_file_that_is_not_the_promised_one_leaves_nothing() {
    let file = noise(3, LEN);
    let served = file.clone();
    let server = Server::start(move |request| Reply::ranged(request, &served)).await;
    let bench = Bench::new();
    let staged = bench.dir.path().join("staged");
    for (bytes, size) in [
        (&b"other"[..], Size::Exactly(LEN as u64)),
        (&file, Size::AtMost(1000)),
        (b"x", Size::AtMost(1 << 30)),
    ] {
        std::fs::write(&staged, noise(4, 10)).unwrap();
        let error =
            bench.client.download_file(&request(&server, bytes, size), &staged, |_| ()).await.unwrap_err();
        assert!(
            matches!(error, RegistryError::WrongDigest { .. } | RegistryError::WrongSize { .. }),
            "{error}"
        );
        assert!(!shown(&error).contains("hunter2"), "{}", shown(&error));
        assert!(!staged.exists());
    }
}

#[tokio::test]
async fn a_stale_beginning_is_replaced() {
    let file = noise(3, LEN);
    let served = file.clone();
    let server = Server::start(move |request| Reply::ranged(request, &served)).await;
    let bench = Bench::new();
    let staged = bench.dir.path().join("staged");
    for (stale, size) in [(1000, Size::Exactly(LEN as u64)), (LEN + 5, Size::AtMost(1 << 20))] {
        std::fs::write(&staged, noise(4, stale)).unwrap();
        bench.client.download_file(&request(&server, &file, size), &staged, |_| ()).await.unwrap();
        assert_eq!(std::fs::read(&staged).unwrap(), file);
    }
}

#[tokio::test]
async fn several_at_once_for_one_place_take_turns() {
    let file = noise(3, LEN);
    let served = file.clone();
    let server = Server::start(move |request| Reply::ranged(request, &served)).await;
    let bench = Bench::new();
    let staged = bench.dir.path().join("staged");
    let wanted = request(&server, &file, Size::Exactly(LEN as u64));
    let other = Bench::new();
    let (a, b, c) = tokio::join!(
        bench.client.download_file(&wanted, &staged, |_| ()),
        bench.client.download_file(&wanted, &staged, |_| ()),
        other.client.download_file(&wanted, &staged, |_| ()),
    );
    a.and(b).and(c).unwrap();
    assert_eq!((std::fs::read(&staged).unwrap(), server.requests().len()), (file, 1));
}

#[tokio::test]
async fn texts_are_bounded_and_utf8() {
    let server = Server::start(|request| match request.path.as_str() {
        "/catalog.json" if request.earlier == 0 => Reply::new(502, ""),
        "/catalog.json" => Reply::new(200, "{\"ä\":1}"),
        "/latin" => Reply::new(200, &b"\xe4"[..]),
        "/endless" => Reply::new(200, "x".repeat(5000)).endless(),
        "/moved" => Reply::to("/catalog.json"),
        _ => Reply::new(410, "gone for good"),
    })
    .await;
    let client = Bench::new().client;
    let fetch = |path: &str, limit| {
        let (client, url) = (client.clone(), server.url(path));
        async move { client.fetch_text(&url, limit, Security::Verified).await }
    };
    assert_eq!(fetch("/catalog.json", 8).await.unwrap(), "{\"ä\":1}");
    assert_eq!(fetch("/moved", 8).await.unwrap(), "{\"ä\":1}");
    assert!(matches!(fetch("/catalog.json", 7).await, Err(RegistryError::TooLarge { limit_bytes: 7, .. })));
    assert!(matches!(fetch("/endless", 70_000).await, Err(RegistryError::TooLarge { .. })));
    assert!(matches!(fetch("/latin", 8).await, Err(RegistryError::NotText { .. })));
    let gone = fetch("/gone", 8).await.unwrap_err();
    assert!(shown(&gone).contains("HTTP status 410: gone for good"), "{}", shown(&gone));
    let nobody = client.fetch_text("http://127.0.0.1:1/x", 8, Security::Verified).await.unwrap_err();
    assert!(matches!(nobody, RegistryError::Unreachable { .. }), "{}", shown(&nobody));
}
