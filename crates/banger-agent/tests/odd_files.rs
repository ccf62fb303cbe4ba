//! Files that are not what they say, links that are followed, and holes.
#![allow(clippy::unwrap_used, reason = "clippy sees tests only in functions marked as such")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::Path;

use banger_agent::files;
use banger_guest_protocol::archive::{
    Decoder, Entry, EntryKind, Item, Note, Timestamp, put_end, put_entry, put_note, put_padding,
};
use banger_guest_protocol::messages::{Pack, Unpack};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};

/// What came of packing: each entry's kind and content, and the notes.
#[derive(Debug, Default)]
struct Found {
    entries: BTreeMap<String, (EntryKind, Vec<u8>)>,
    notes: Vec<Note>,
    len: usize,
}

async fn pack(path: impl AsRef<Path>, follow: bool) -> Found {
    let path = path.as_ref().as_os_str().to_owned().into();
    let archive = files::pack(Pack { path, follow }).await.unwrap().collect().await.unwrap().to_bytes();
    let (mut decoder, mut found) = (Decoder::default(), Found { len: archive.len(), ..Found::default() });
    decoder.push(archive);
    let mut latest = String::new();
    while let Some(item) = decoder.next().unwrap() {
        match item {
            Item::Entry(entry) => {
                latest = String::from_utf8_lossy(&entry.path).trim_end_matches('/').to_owned();
                found.entries.insert(latest.clone(), (entry.kind, Vec::new()));
            }
            Item::Data(bytes) => found.entries.get_mut(&latest).unwrap().1.extend_from_slice(&bytes),
            Item::Note(note) => found.notes.push(note),
            Item::Hole(_) | Item::End => {}
        }
    }
    decoder.finish().unwrap();
    found
}

async fn unpack(archive: Vec<u8>, dir: &Path) {
    let what = Unpack { dir: dir.as_os_str().to_owned().into(), create: false };
    files::unpack(what, Full::new(Bytes::from(archive))).await.unwrap();
}

#[tokio::test]
async fn files_of_no_size_are_packed_with_what_they_hold() {
    let found = pack("/proc/self/limits", false).await;
    let (kind, content) = &found.entries["limits"];
    assert!(content.starts_with(b"Limit "), "{found:?}");
    assert_eq!(*kind, EntryKind::File { size: content.len() as u64 });
}

#[tokio::test]
async fn what_cannot_be_read_is_named_and_the_rest_is_packed() {
    let found = pack("/proc/self/task", false).await;
    assert!(found.entries.keys().any(|path| path.ends_with("/status")), "{:?}", found.entries.keys());
    let unread: Vec<String> = found
        .notes
        .iter()
        .filter_map(|note| match note {
            Note::Unread { path, reason } => Some(format!("{} {reason}", String::from_utf8_lossy(path))),
            _ => None,
        })
        .collect();
    assert!(unread.iter().any(|line| line.contains("/mem could not be read: ")), "{unread:?}");
    assert!(!found.entries.keys().any(|path| path.ends_with("/mem")));
}

#[tokio::test]
async fn other_file_systems_stay_behind_and_are_named() {
    let device = |path: &str| fs::metadata(path).map(|found| found.dev()).ok();
    if device("/dev/pts").is_none() || device("/dev/pts") == device("/dev") {
        eprintln!("skipped: nothing is mounted at /dev/pts");
        return;
    }
    let found = pack("/dev", false).await;
    assert_eq!(found.entries["dev/pts"].0, EntryKind::Directory);
    assert!(found.notes.contains(&Note::Mount { path: b"dev/pts".to_vec() }));
    assert!(!found.entries.keys().any(|path| path.starts_with("dev/pts/")));
    let in_pts = |note: &Note| matches!(note, Note::Skipped { path } if path.starts_with(b"dev/pts/"));
    assert!(!found.notes.iter().any(in_pts));
    // Named itself, it is gone into.
    let found = pack("/dev/pts", false).await;
    assert!(found.notes.iter().any(|note| matches!(note, Note::Skipped { .. })), "{found:?}");
}

#[tokio::test]
async fn links_are_followed_where_that_is_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let at = |path: &str| dir.path().join(path);
    fs::create_dir_all(at("tree/d")).unwrap();
    fs::create_dir(at("outside")).unwrap();
    fs::write(at("outside/f"), "outside").unwrap();
    symlink("../outside", at("tree/out")).unwrap();
    symlink("../outside/f", at("tree/file")).unwrap();
    symlink("..", at("tree/d/up")).unwrap();
    symlink("nowhere", at("tree/dangling")).unwrap();
    symlink("around", at("tree/around")).unwrap();
    symlink("tree", at("link")).unwrap();
    for (name, top) in [("tree", "tree"), ("link", "link"), ("link/.", ".")] {
        let found = pack(at(name), true).await;
        let names: Vec<&str> = found.entries.keys().map(String::as_str).collect();
        let expected = ["", "/d", "/file", "/out", "/out/f"].map(|path| format!("{top}{path}"));
        assert_eq!(names, expected, "{name}");
        assert_eq!(found.entries[&format!("{top}/file")].1, b"outside");
        let unread = |path: &str, words: &str| {
            found.notes.iter().any(|note| {
                matches!(note, Note::Unread { path: of, reason }
                    if *of == format!("{top}/{path}").into_bytes() && reason.contains(words))
            })
        };
        assert!(unread("d/up", "leads back"), "{:?}", found.notes);
        assert!(unread("dangling", "leads nowhere"), "{:?}", found.notes);
        assert!(unread("around", "could not be read"), "{:?}", found.notes);
    }
    let found = pack(at("tree/file"), true).await;
    assert_eq!(found.entries["file"], (EntryKind::File { size: 7 }, b"outside".to_vec()));
    let found = pack(at("link"), false).await;
    assert_eq!(found.entries["link"].0, EntryKind::Symlink { target: b"tree".to_vec() });
}

#[tokio::test]
async fn holes_stay_holes() {
    let dir = tempfile::tempdir().unwrap();
    let (size, data) = (100 << 30, vec![7; 1 << 20]);
    let file = File::create(dir.path().join("sparse")).unwrap();
    file.set_len(size).unwrap();
    file.write_all_at(&data, 50 << 30).unwrap();
    let found = pack(dir.path().join("sparse"), false).await;
    assert!(found.len < (2 << 20), "{}", found.len);
    let (kind, content) = &found.entries["sparse"];
    let EntryKind::Sparse { runs, .. } = kind else { panic!("{kind:?}") };
    let mut archive = Vec::new();
    let mtime = Timestamp { seconds: 1_600_000_000, nanoseconds: 0 };
    put_entry(&mut archive, &Entry { path: b"back".to_vec(), kind: kind.clone(), mode: 0o600, mtime });
    archive.extend_from_slice(content);
    put_padding(&mut archive, content.len() as u64);
    put_end(&mut archive);
    unpack(archive, dir.path()).await;
    let back = File::open(dir.path().join("back")).unwrap();
    let metadata = back.metadata().unwrap();
    assert_eq!((metadata.len(), metadata.mtime()), (size, 1_600_000_000));
    assert!(metadata.blocks() * 512 < 4 << 20, "{}", metadata.blocks());
    let mut read = vec![0; data.len()];
    back.read_exact_at(&mut read, 50 << 30).unwrap();
    assert!(read == data && runs.len() == 1);
}

#[tokio::test]
async fn what_was_cut_off_is_not_made_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut archive = Vec::new();
    let mtime = Timestamp { seconds: 1_600_000_000, nanoseconds: 0 };
    for path in ["cut", "whole"] {
        let kind = EntryKind::File { size: 1000 };
        put_entry(&mut archive, &Entry { path: path.into(), kind, mode: 0o644, mtime });
        archive.resize(archive.len() + 300, 7);
        archive.resize(archive.len() + 700, 0);
        put_padding(&mut archive, 1000);
        if path == "cut" {
            let (path, reason) = (path.into(), "was truncated".into());
            put_note(&mut archive, &Note::Cut { path, len: 300, reason });
        }
    }
    put_end(&mut archive);
    unpack(archive, dir.path()).await;
    assert_eq!(fs::read(dir.path().join("cut")).unwrap(), [7; 300]);
    assert_eq!(fs::metadata(dir.path().join("cut")).unwrap().mtime(), 1_600_000_000);
    assert_eq!(fs::metadata(dir.path().join("whole")).unwrap().len(), 1000);
}
