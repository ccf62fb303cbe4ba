use std::collections::HashSet;
use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn store() -> (tempfile::TempDir, BlobStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = BlobStore::open(&dir.path().join("state")).unwrap();
    (dir, store)
}

#[test]
fn small_blobs_come_back_unless_they_were_touched() {
    let (dir, store) = store();
    let digest = Digest::of(b"hello");
    assert_eq!(store.read_small(&digest, 10), None);
    store.write_small(b"hello").unwrap();
    store.write_small(b"hello").unwrap();
    assert_eq!(store.read_small(&digest, 10).as_deref(), Some(&b"hello"[..]));
    assert_eq!(store.read_small(&digest, 4), None);
    assert!(store.has(&digest, 5) && !store.has(&digest, 4));

    let path = dir.path().join("state/blobs/sha256").join(digest.hex());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    fs::write(&path, "hallo").unwrap();
    assert_eq!(store.read_small(&digest, 10), None);
    assert_eq!(fs::read_dir(dir.path().join("state/partial")).unwrap().count(), 0);
}

#[test]
fn pruning_leaves_what_is_kept_leased_or_not_the_stores() {
    let (dir, store) = store();
    let state = dir.path().join("state");
    for text in ["kept", "leased", "useless"] {
        store.write_small(text.as_bytes()).unwrap();
    }
    let half = |text: &str| store.partial_path(&Digest::of(text.as_bytes()));
    fs::write(half("leased too"), "12").unwrap();
    fs::write(half("broken off"), "123").unwrap();
    fs::write(format!("{}-1-2", half("broken off").display()), "1234").unwrap();
    fs::write(state.join("blobs/sha256/README"), "not a blob").unwrap();
    fs::write(state.join("partial/é"), "not a blob").unwrap();
    let leases = [store.lease(&Digest::of(b"leased")), store.lease(&Digest::of(b"leased too"))];
    let keep: HashSet<Digest> = [Digest::of(b"kept")].into();

    let expected = Freed { files: 3, bytes: 7 + 3 + 4 };
    assert_eq!(store.prune(&keep, true).unwrap(), expected);
    assert_eq!(store.prune(&keep, true).unwrap(), expected);
    assert_eq!(store.prune(&keep, false).unwrap(), expected);
    assert_eq!(store.prune(&keep, false).unwrap(), Freed::default());
    assert!(leases[0].path().exists() && half("leased too").exists());
    assert!(state.join("blobs/sha256/README").exists() && state.join("partial/é").exists());

    let again = store.clone().lease(&Digest::of(b"leased"));
    drop(leases);
    assert_eq!(store.prune(&keep, false).unwrap(), Freed { files: 1, bytes: 2 });
    drop(again);
    assert_eq!(store.prune(&HashSet::new(), false).unwrap(), Freed { files: 2, bytes: 10 });
}

#[tokio::test]
async fn a_sink_goes_on_where_it_stopped() {
    let (_dir, store) = store();
    let digest = Digest::of(b"one two three");
    let path = store.partial_path(&digest);
    let turn = || store.flights().enter(&digest, || ());

    let mut sink = Sink::open(&path, 13, turn().await).await.unwrap();
    sink.push("one ".into()).await.unwrap();
    assert_eq!(sink.len(), 4);
    sink.flush().await.unwrap();
    sink.push("lost".into()).await.unwrap();
    drop(sink);

    let mut sink = Sink::open(&path, 13, turn().await).await.unwrap();
    assert_eq!((sink.len(), sink.digest()), (4, Digest::of(b"one ")));
    sink.push("two three".into()).await.unwrap();
    sink.make_durable().await.unwrap();
    assert_eq!(sink.digest(), digest);
    sink.publish(store.blob_path(&digest)).await.unwrap();
    assert_eq!(store.read_small(&digest, 13).as_deref(), Some(&b"one two three"[..]));
    drop(sink);

    fs::write(&path, "longer than it may be").unwrap();
    let mut sink = Sink::open(&path, 13, turn().await).await.unwrap();
    assert_eq!(sink.len(), 0);
    sink.push("x".into()).await.unwrap();
    sink.restart().await.unwrap();
    sink.push("y".into()).await.unwrap();
    sink.make_durable().await.unwrap();
    assert_eq!((sink.digest(), fs::read(&path).unwrap()), (Digest::of(b"y"), b"y".to_vec()));
    sink.discard();
    assert!(!path.exists());
}

#[tokio::test]
async fn a_full_disk_is_told_and_gets_its_space_back() {
    let (dir, store) = store();
    let digest = Digest::of(b"");
    let full = dir.path().join("full");
    std::os::unix::fs::symlink("/dev/full", &full).unwrap();
    let error = Sink::open(&full, 1, store.flights().enter(&digest, || ()).await).await.unwrap_err();
    assert!(matches!(error, RegistryError::File { .. }), "a symbolic link was followed: {error}");
    let error = RegistryError::file("write", "/x", io::ErrorKind::StorageFull.into());
    assert!(matches!(error, RegistryError::DiskFull { .. }));
}
