//! Pulls that share a store: with each other, with earlier ones, with pruning.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use banger_registry::{Digest, Freed};

use crate::bench::{Bench, app};
use crate::images::{Content, is_blob, noise};
use crate::server::Server;

const LEN: usize = 200_000;

#[tokio::test]
async fn a_second_pull_asks_for_the_tag_only() {
    let layers = [noise(1, LEN), noise(2, LEN), noise(1, LEN)];
    let content = Content::image(&layers);
    let server = Server::start(move |request| content.reply(request)).await;
    let bench = Bench::new();
    let image = bench.resolve(&app(&server)).await.unwrap();
    assert_eq!(
        (image.compressed_bytes(), bench.store.missing_bytes(&image)),
        (2 * LEN as u64, 2 * LEN as u64)
    );
    assert_eq!(image.config.env, ["A=1"]);
    let (leases, progress) = bench.pull(&server).await.unwrap();
    for (lease, layer) in leases.iter().zip(&layers) {
        assert_eq!(std::fs::read(lease.path()).unwrap(), *layer);
    }
    assert_eq!(leases.len(), 3);
    assert_eq!((progress.total_bytes, progress.done_bytes), (2 * LEN as u64, 2 * LEN as u64));

    let before = server.requests().len();
    let bench = bench.restarted();
    let (_, progress) = bench.pull(&server).await.unwrap();
    assert_eq!(progress.reused_bytes, 2 * LEN as u64);
    let paths: Vec<String> = server.requests().into_iter().skip(before).map(|r| r.path).collect();
    assert_eq!(paths, ["/v2/", "/v2/team/app/manifests/1"]);
    assert_eq!(bench.store.missing_bytes(&image), 0);
}

#[tokio::test]
async fn a_blob_of_the_wrong_size_is_fetched_again() {
    let layer = noise(1, LEN);
    let content = Content::image(std::slice::from_ref(&layer));
    let server = Server::start(move |request| content.reply(request)).await;
    let bench = Bench::new();
    let (leases, _) = bench.pull(&server).await.unwrap();
    std::fs::write(leases[0].path(), &layer[..LEN / 2]).unwrap();
    let (leases, _) = bench.pull(&server).await.unwrap();
    assert_eq!(std::fs::read(leases[0].path()).unwrap(), layer);
}

#[tokio::test]
async fn two_pulls_at_once_download_once() {
    let layer = noise(1, LEN);
    let content = Content::image(std::slice::from_ref(&layer));
    let slow = layer.clone();
    let server = Server::start(move |request| {
        let reply = content.reply(request);
        if is_blob(request, &slow) { reply.dripping(LEN / 10, Duration::from_millis(60)) } else { reply }
    })
    .await;
    let bench = Bench::new();
    let (first, second) = tokio::join!(bench.pull(&server), bench.pull(&server));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(std::fs::read(first.0[0].path()).unwrap(), layer);
    assert_eq!(second.0[0].path(), first.0[0].path());
    assert_eq!((first.1.done_bytes, second.1.done_bytes), (LEN as u64, LEN as u64));
    assert_eq!(server.asked_for(&Digest::of(&layer).hex()).len(), 1);
}

#[tokio::test]
async fn a_dropped_pull_stops_and_another_takes_over_what_it_had() {
    let layer = noise(1, 20 * LEN);
    let hex = Digest::of(&layer).hex();
    let content = Content::image(std::slice::from_ref(&layer));
    let slow = layer.clone();
    let server = Server::start(move |request| {
        let reply = content.reply(request);
        let first = is_blob(request, &slow) && request.earlier == 0;
        if first { reply.dripping(LEN, Duration::from_millis(50)) } else { reply }
    })
    .await;
    let bench = Bench::new();
    let image = bench.resolve(&app(&server)).await.unwrap();
    let far = Arc::new(tokio::sync::Notify::new());
    let enough = far.clone();
    let fetching = bench.client.fetch(&bench.store, &image, |progress| {
        if progress.done_bytes >= 5 * LEN as u64 {
            enough.notify_one();
        }
    });
    tokio::select! {
        done = fetching => panic!("not dropped: {done:?}"),
        () = far.notified() => {}
    }
    let (leases, progress) = bench.pull(&server).await.unwrap();
    assert_eq!(std::fs::read(leases[0].path()).unwrap(), layer);
    let resumed_at = server.asked_for(&hex)[1].first_byte();
    assert!(resumed_at > 2 * LEN, "began again at {resumed_at}");
    assert_eq!(progress.reused_bytes, resumed_at as u64);
}

#[tokio::test]
async fn four_layers_at_a_time() {
    let layers: Vec<Vec<u8>> = (0..12).map(|n| noise(n, 3000)).collect();
    let content = Content::image(&layers);
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    let server = Server::start(move |request| {
        let reply = content.reply(request);
        if layers.iter().any(|layer| is_blob(request, layer)) {
            seen.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            return reply.counted_in(&now).dripping(1500, Duration::from_millis(50));
        }
        reply
    })
    .await;
    let bench = Bench::new();
    let (leases, _) = bench.pull(&server).await.unwrap();
    assert_eq!(leases.len(), 12);
    assert_eq!(most.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn pruning_during_a_pull_takes_nothing_of_it() {
    let layers = [noise(1, LEN), noise(2, LEN)];
    let content = Content::image(&layers);
    let slow = layers[1].clone();
    let server = Server::start(move |request| {
        let reply = content.reply(request);
        if is_blob(request, &slow) { reply.dripping(LEN / 10, Duration::from_millis(50)) } else { reply }
    })
    .await;
    let bench = Bench::new();
    let image = bench.resolve(&app(&server)).await.unwrap();
    let pruning = async {
        for _ in 0..8 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            bench.store.prune(&HashSet::new(), false).unwrap();
        }
    };
    let (leases, ()) = tokio::join!(bench.fetch(&image), pruning);
    let leases = leases.unwrap();
    for (lease, layer) in leases.iter().zip(&layers) {
        assert_eq!(std::fs::read(lease.path()).unwrap(), *layer);
        assert_eq!(server.asked_for(&Digest::of(layer).hex()).len(), 1);
    }
    drop(leases);
    let freed = bench.store.prune(&HashSet::new(), false).unwrap();
    assert_eq!(freed, Freed { files: 2, bytes: 2 * LEN as u64 });
}
