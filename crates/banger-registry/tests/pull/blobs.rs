//! Layers from servers that break off, begin anew, lie, or have bad days.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use banger_registry::{Digest, RegistryError};

use crate::bench::{Bench, app, shown};
use crate::images::{Content, is_blob, noise};
use crate::server::{Reply, Request, Server};

const LEN: usize = 3 << 20;

/// A registry with one image of one layer, whose blob is answered by a script.
async fn serving(blob: impl Fn(&Request, &[u8]) -> Reply + Send + Sync + 'static) -> (Server, Vec<u8>) {
    let layer = noise(7, LEN);
    let content = Content::image(std::slice::from_ref(&layer));
    let served = layer.clone();
    let server = Server::start(move |request| match is_blob(request, &served) {
        true => blob(request, &served),
        false => content.reply(request),
    });
    (server.await, layer)
}

/// Nothing of a layer is left, whole or in part.
fn assert_clean(bench: &Bench, layer: &[u8]) {
    let hex = Digest::of(layer).hex();
    let left: Vec<_> = [bench.files("partial"), bench.files("blobs/sha256")].concat();
    assert!(!left.iter().any(|path| path.to_string_lossy().contains(&hex)), "{left:?}");
    assert_eq!(bench.files("partial"), [] as [std::path::PathBuf; 0]);
}

#[tokio::test]
async fn a_cut_connection_goes_on_where_it_stopped() {
    let (server, layer) = serving(|request, layer| {
        let reply = Reply::ranged(request, layer);
        if request.earlier < 3 { reply.cut_after(LEN / 4) } else { reply }
    })
    .await;
    let bench = Bench::new();
    let (leases, progress) = bench.pull(&server).await.unwrap();
    assert_eq!(std::fs::read(leases[0].path()).unwrap(), layer);
    assert_eq!((progress.done_bytes, progress.reused_bytes), (LEN as u64, 0));

    let starts: Vec<usize> = server.asked_for("/blobs/").iter().map(Request::first_byte).collect();
    assert_eq!(starts[0], 0, "the configuration");
    assert_eq!(starts[1..], [0, LEN / 4, LEN / 2, 3 * LEN / 4]);
    let documents = server.served_bytes() - LEN as u64;
    assert!(documents < 2000, "the layer went out more than once: {documents} bytes too many");
}

#[tokio::test]
async fn a_later_pull_goes_on_where_an_earlier_one_gave_up() {
    let broken = Arc::new(AtomicBool::new(true));
    let now = Arc::clone(&broken);
    let (server, layer) = serving(move |request, layer| {
        let reply = Reply::ranged(request, layer);
        if now.load(Ordering::Relaxed) {
            reply.cut_after(if request.earlier == 0 { LEN / 2 } else { 0 })
        } else {
            reply
        }
    })
    .await;
    let bench = Bench::new();
    let error = bench.pull(&server).await.unwrap_err();
    assert!(matches!(error, RegistryError::Interrupted { .. }), "{error}");
    assert_eq!(server.asked_for(&Digest::of(&layer).hex()).len(), 4);

    broken.store(false, Ordering::Relaxed);
    let bench = bench.restarted();
    let image = bench.resolve(&app(&server)).await.unwrap();
    assert_eq!(bench.store.missing_bytes(&image), (LEN - LEN / 2) as u64);
    let before = server.served_bytes();
    let (leases, progress) = bench.pull(&server).await.unwrap();
    assert_eq!(progress.reused_bytes, (LEN / 2) as u64);
    assert_eq!(std::fs::read(leases[0].path()).unwrap(), layer);
    assert!(server.served_bytes() - before < (LEN - LEN / 2 + 2000) as u64);
}

#[tokio::test]
async fn a_server_without_ranges_begins_anew() {
    let (server, layer) = serving(|request, layer| {
        let reply = Reply::new(200, layer);
        if request.earlier == 0 { reply.cut_after(LEN / 2) } else { reply }
    })
    .await;
    let bench = Bench::new();
    let (leases, progress) = bench.pull(&server).await.unwrap();
    assert_eq!(std::fs::read(leases[0].path()).unwrap(), layer);
    assert_eq!((progress.done_bytes, progress.reused_bytes), (LEN as u64, 0));
}

#[tokio::test]
async fn what_an_earlier_server_sent_wrongly_is_dropped_and_fetched_once_more() {
    let (server, layer) = serving(Reply::ranged).await;
    let bench = Bench::new();
    let partial = bench.dir.path().join("partial").join(Digest::of(&layer).hex());
    for wrong in [noise(9, LEN / 2), noise(9, LEN), noise(9, LEN + 1)] {
        std::fs::write(&partial, &wrong).unwrap();
        let (leases, progress) = bench.pull(&server).await.unwrap();
        assert_eq!(std::fs::read(leases[0].path()).unwrap(), layer);
        assert_eq!((progress.done_bytes, progress.reused_bytes), (LEN as u64, 0));
        std::fs::remove_file(leases[0].path()).unwrap();
    }
    assert_eq!(bench.files("partial"), [] as [std::path::PathBuf; 0]);
}

#[tokio::test]
async fn a_lie_about_the_digest_is_refused_and_leaves_nothing() {
    let lie = noise(8, LEN);
    let (server, layer) = serving(move |request, _| Reply::ranged(request, &lie)).await;
    let bench = Bench::new();
    let error = bench.pull(&server).await.unwrap_err();
    assert!(matches!(error, RegistryError::WrongDigest { .. }), "{error}");
    assert_eq!(server.asked_for(&Digest::of(&layer).hex()).len(), 1);
    assert_clean(&bench, &layer);
}

#[tokio::test]
async fn a_liar_who_breaks_off_gets_one_more_chance() {
    let lie = noise(8, LEN);
    let (server, layer) = serving(move |request, _| {
        let reply = Reply::ranged(request, &lie);
        if request.first_byte() == 0 { reply.cut_after(LEN / 2) } else { reply }
    })
    .await;
    let bench = Bench::new();
    let error = bench.pull(&server).await.unwrap_err();
    assert!(matches!(error, RegistryError::WrongDigest { .. }), "{error}");
    assert_eq!(server.asked_for(&Digest::of(&layer).hex()).len(), 4);
    assert_clean(&bench, &layer);
}

#[tokio::test]
async fn lies_about_the_size_are_refused_and_leave_nothing() {
    type Lie = fn(&Request, &[u8]) -> Reply;
    let lies: [(&str, Lie); 5] = [
        ("announced shorter", |_, layer| Reply::new(200, &layer[..LEN / 2])),
        ("announced longer", |_, layer| Reply::new(200, [layer, layer].concat())),
        ("ends too soon", |_, layer| Reply::new(200, &layer[..LEN / 2]).announcing(None)),
        ("one byte more", |_, layer| Reply::new(200, [layer, b"x"].concat()).announcing(None)),
        ("endless", |_, layer| Reply::new(200, layer).endless()),
    ];
    for (name, lie) in lies {
        let (server, layer) = serving(lie).await;
        let bench = Bench::new();
        let since = Instant::now();
        let error = bench.pull(&server).await.unwrap_err();
        assert!(matches!(error, RegistryError::WrongSize { .. }), "{name}: {}", shown(&error));
        assert!(since.elapsed() < Duration::from_secs(5), "{name}");
        assert_clean(&bench, &layer);
    }
    let (server, layer) = serving(|request, layer| match request.first_byte() {
        0 => Reply::new(200, layer).cut_after(LEN / 2),
        from => Reply::new(206, &layer[from..])
            .with("Content-Range", &format!("bytes {from}-{}/{}", LEN - 1, 2 * LEN)),
    })
    .await;
    let bench = Bench::new();
    let error = bench.pull(&server).await.unwrap_err();
    assert!(matches!(error, RegistryError::WrongSize { .. }), "{}", shown(&error));
    assert_clean(&bench, &layer);
}

#[tokio::test]
async fn a_part_that_was_not_asked_for_is_not_taken() {
    let (server, _) = serving(|request, layer| match request.first_byte() {
        0 => Reply::new(200, layer).cut_after(LEN / 2),
        _ => Reply::new(206, &layer[100..]).with("Content-Range", &format!("bytes 100-{}/{LEN}", LEN - 1)),
    })
    .await;
    let error = Bench::new().pull(&server).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unexpected { .. }), "{}", shown(&error));
}

#[tokio::test]
async fn bad_days_are_waited_out() {
    let (server, layer) = serving(|request, layer| match request.earlier {
        0 => Reply::new(503, "tired"),
        1 => Reply::new(429, "").with("Retry-After", "1"),
        2 => Reply::new(500, ""),
        _ => Reply::ranged(request, layer),
    })
    .await;
    let since = Instant::now();
    let bench = Bench::new();
    let (leases, _) = bench.pull(&server).await.unwrap();
    assert!(since.elapsed() >= Duration::from_secs(1), "{:?}", since.elapsed());
    assert_eq!(std::fs::read(leases[0].path()).unwrap(), layer);
}

#[tokio::test]
async fn bad_days_without_end_are_told() {
    let (server, layer) = serving(|_, _| Reply::new(503, "tired")).await;
    let error = Bench::new().pull(&server).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unavailable { .. }));
    assert!(shown(&error).contains("HTTP status 503: tired"), "{}", shown(&error));
    assert_eq!(server.asked_for(&Digest::of(&layer).hex()).len(), 4);

    let (server, layer) = serving(|_, _| Reply::new(429, "").with("Retry-After", "3600")).await;
    let error = Bench::new().pull(&server).await.unwrap_err();
    let text = shown(&error);
    assert!(text.contains("asks to wait for 3600 s") && text.contains("docker login"), "{text}");
    assert_eq!(server.asked_for(&Digest::of(&layer).hex()).len(), 1);
}

#[tokio::test]
async fn silence_and_dripping_are_stalls() {
    for pieces in [0, 1] {
        let (server, _) = serving(move |_, layer| {
            Reply::new(200, layer)
                .dripping(1 + pieces * 99, Duration::from_millis(if pieces == 0 { 10_000 } else { 100 }))
        })
        .await;
        let since = Instant::now();
        let error = Bench::new().pull(&server).await.unwrap_err();
        assert!(matches!(error, RegistryError::Stalled { .. }), "{}", shown(&error));
        assert!(since.elapsed() < Duration::from_secs(8), "{:?}", since.elapsed());
    }
    let (server, layer) = serving(|request, layer| match request.earlier {
        0 => Reply::new(200, layer).dripping(LEN / 2, Duration::from_secs(10)),
        _ => Reply::ranged(request, layer),
    })
    .await;
    let bench = Bench::new();
    let (leases, _) = bench.pull(&server).await.unwrap();
    assert_eq!(std::fs::read(leases[0].path()).unwrap(), layer);
    assert_eq!(server.asked_for(&Digest::of(&layer).hex())[1].first_byte(), LEN / 2);
}

#[tokio::test]
async fn a_server_that_goes_round_in_circles_is_left() {
    let (server, _) = serving(|request, _| Reply::to(&request.path)).await;
    let error = Bench::new().pull(&server).await.unwrap_err();
    assert!(matches!(error, RegistryError::Redirect { .. }), "{}", shown(&error));
    for location in ["http://storage.example/x", "file:///etc/passwd", "http://[::", "http://a:b@127.0.0.1/"]
    {
        let (server, _) = serving(move |_, _| Reply::to(location)).await;
        let error = Bench::new().pull(&server).await.unwrap_err();
        assert!(matches!(error, RegistryError::Redirect { .. }), "{location}: {}", shown(&error));
    }
}
