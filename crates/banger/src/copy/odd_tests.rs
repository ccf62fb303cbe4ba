//! Archives without an end, files with holes, and files that are not what they say.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, symlink};
use std::path::Path;

use banger_api::files::archive::{
    ArchiveError, EntryKind, Note, Run, put_end, put_entry, put_note, put_padding,
};
use bytes::Bytes;
use tokio::sync::mpsc;

use super::hostile_tests::{Archive, LIMIT, copy, feed, from};
use super::{CopyError, Filter, Moved, Names, Remarks, Source, pack, receive};
use crate::copy::receive::Sink;

/// A guest that never comes to an end: `piece` again and again.
fn endless(first: Bytes, piece: Bytes, sink: impl Sink) -> Result<Remarks, CopyError> {
    let (sender, pieces) = mpsc::channel(1);
    let sending = std::thread::spawn(move || {
        let mut next = first;
        while sender.blocking_send(next).is_ok() {
            next = piece.clone();
        }
    });
    let refused = receive(pieces, sink, LIMIT);
    sending.join().unwrap();
    refused
}

fn sparse(archive: Archive, path: &str, size: u64, runs: &[Run]) -> Archive {
    archive.entry(path, 0o644, EntryKind::Sparse { size, runs: runs.into() })
}

#[test]
fn no_guest_goes_on_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let mut notes = Vec::new();
    put_note(&mut notes, &Note::Unread { path: b"a/x".to_vec(), reason: "is odd".into() });
    let dir_entry = || Archive::default().dir("a").0.freeze();
    // The header that holds a long name, and the name, without what they are about.
    let long = Archive::default().dir(&"x".repeat(150)).0.freeze().slice(..1024);
    for (what, first, piece) in [
        ("notes", dir_entry(), notes.repeat(100).into()),
        ("one file", dir_entry(), Archive::default().file("a/f", "x").0.freeze()),
        ("directories", dir_entry(), Archive::default().dir("a/d").0.freeze()),
        ("long names", dir_entry(), long),
        ("zeros behind the end", Archive::default().dir("a").end(), vec![0; 64 << 10].into()),
        ("noise behind the end", Archive::default().dir("a").end(), vec![7; 64 << 10].into()),
    ] {
        let to = dir.path().join(what);
        fs::create_dir(&to).unwrap();
        let mut out = Vec::new();
        let target = super::Target::find(&from("/a"), &to).unwrap();
        let unpacker = super::Unpacker::new(target, LIMIT).unwrap();
        for refused in [
            endless(first.clone(), piece.clone(), unpacker),
            endless(first, piece, Filter::new(Names::of(&from("/a")), &mut out, LIMIT)),
        ] {
            let error = refused.expect_err(what);
            let ends = match error {
                CopyError::Archive(ArchiveError::Extensions) => what == "long names",
                CopyError::Endless => what.ends_with("the end"),
                CopyError::TooLarge { .. } => true,
                _ => false,
            };
            assert!(ends, "{what}: {error}");
        }
    }
}

#[test]
fn claims_cost_nothing() {
    let dir = tempfile::tempdir().unwrap();
    for (what, archive) in [
        ("a file of exabytes", Archive::default().entry("a", 0o644, EntryKind::File { size: 1 << 62 })),
        ("a run of exabytes", sparse(Archive::default(), "a", 1 << 62, &[Run { offset: 1, len: 1 << 61 }])),
        (
            // Each of them takes a block of the disk.
            "a byte here and there",
            sparse(
                Archive::default(),
                "a",
                1 << 40,
                &(0..1000).map(|at| Run { offset: at << 20, len: 1 }).collect::<Vec<_>>(),
            ),
        ),
    ] {
        let refused = copy("/a", dir.path(), &archive.0);
        assert!(matches!(refused, Err(CopyError::TooLarge { .. })), "{what}: {refused:?}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn holes_are_made_and_passed_on() {
    let dir = tempfile::tempdir().unwrap();
    let (size, runs) = (100 << 30, [Run { offset: 4096, len: 3 }, Run { offset: 50 << 30, len: 2 }]);
    let mut archive = sparse(Archive::default(), "a", size, &runs);
    archive.0.extend_from_slice(b"abcde");
    put_padding(&mut archive.0, 5);
    let archive = archive.end();
    copy("/a", dir.path(), &archive).unwrap();
    let file = File::open(dir.path().join("a")).unwrap();
    let metadata = file.metadata().unwrap();
    assert_eq!((metadata.len(), metadata.mtime()), (size, 1_600_000_000));
    assert!(metadata.blocks() * 512 < 1 << 20, "{}", metadata.blocks());
    let mut bytes = [0; 2];
    file.read_exact_at(&mut bytes, 50 << 30).unwrap();
    assert_eq!(&bytes, b"de");

    let mut out = Vec::new();
    feed(&archive, Filter::new(Names::of(&from("/a")), &mut out, LIMIT)).unwrap();
    assert_eq!(out, archive);
    // What is only hole.
    let empty = sparse(Archive::default(), "a", 1 << 40, &[]).end();
    copy("/a", &dir.path().join("empty"), &empty).unwrap();
    assert_eq!(fs::metadata(dir.path().join("empty")).unwrap().len(), 1 << 40);
    // Half of one is none.
    let before = fs::read_dir(dir.path()).unwrap().count();
    copy("/a", &dir.path().join("half"), &archive[..archive.len() - 1534]).unwrap_err();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), before);
}

#[test]
fn what_was_cut_off_is_told_and_not_made_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut archive = Archive::default().dir("a").file("a/f", &"x".repeat(1000));
    let note = |path: &str, len| {
        let reason = "was truncated\u{1b}[2J".to_owned();
        Note::Cut { path: path.into(), len, reason }
    };
    put_note(&mut archive.0, &note("a/f", 300));
    put_note(&mut archive.0, &note("../../etc/passwd", 0));
    let mut archive = archive.file("a/g", "whole");
    put_note(&mut archive.0, &note("a/g", u64::MAX));
    put_note(&mut archive.0, &Note::Vanished { path: b"a/gone".to_vec() });
    put_note(&mut archive.0, &Note::Mount { path: b"a/proc".to_vec() });
    let remarks = copy("/a", dir.path(), &archive.end()).unwrap();
    // The second one says so of the file before it, too: nothing else can be meant.
    assert_eq!(fs::metadata(dir.path().join("a/f")).unwrap().len(), 0);
    assert_eq!(fs::read_to_string(dir.path().join("a/g")).unwrap(), "whole");
    assert_eq!(remarks.failures.named.len(), 3);
    assert!(remarks.failures.named[0].starts_with("a/f was truncated"), "{remarks:?}");
    assert!(!remarks.failures.named[0].contains('\u{1b}'), "{remarks:?}");
    assert_eq!((&remarks.vanished.named[0][..], &remarks.mounts.named[0][..]), ("a/gone", "a/proc"));
}

/// What packing a local path sends and tells, unpacked again.
fn there_and_back(path: &Path, follow: bool, to: &Path) -> Remarks {
    let (sender, mut pieces) = mpsc::channel(1000);
    let source = Source::find(path, follow).unwrap();
    let packed = pack(&source, b"a", false, &sender, &Moved::default()).unwrap();
    drop(sender);
    let mut archive = Vec::new();
    while let Some(piece) = pieces.blocking_recv() {
        archive.extend_from_slice(&piece.unwrap());
    }
    copy("/root/a", to, &archive).unwrap();
    packed
}

#[test]
fn odd_local_files_are_packed_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let at = |path: &str| dir.path().join(path);
    there_and_back(Path::new("/proc/self/limits"), false, &at("limits"));
    assert!(fs::read_to_string(at("limits")).unwrap().starts_with("Limit "));
    let sparse = File::create(at("sparse")).unwrap();
    sparse.set_len(100 << 30).unwrap();
    sparse.write_all_at(b"data", 50 << 30).unwrap();
    there_and_back(&at("sparse"), false, &at("back"));
    let back = fs::metadata(at("back")).unwrap();
    assert!(back.len() == 100 << 30 && back.blocks() * 512 < 1 << 20, "{} {}", back.len(), back.blocks());
    // What cannot be read is named; the rest goes.
    let (sender, mut pieces) = mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    let taking = std::thread::spawn(move || {
        let mut archive = Vec::new();
        while let Some(piece) = pieces.blocking_recv() {
            archive.extend_from_slice(&piece.unwrap());
        }
        archive
    });
    let source = Source::find(Path::new("/proc/self/task"), false).unwrap();
    let remarks = pack(&source, b"task", false, &sender, &Moved::default()).unwrap();
    drop(sender);
    let archive = taking.join().unwrap();
    assert!(remarks.failures.named.iter().any(|line| line.contains("could not be read")), "{remarks:?}");
    let status = b"Name:\t";
    assert!(archive.windows(status.len()).any(|window| window == status));
}

#[test]
fn local_links_are_followed_where_that_is_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let at = |path: &str| dir.path().join(path);
    fs::create_dir_all(at("tree/d")).unwrap();
    fs::create_dir(at("outside")).unwrap();
    fs::write(at("outside/f"), "outside").unwrap();
    symlink("../outside", at("tree/out")).unwrap();
    symlink("..", at("tree/d/up")).unwrap();
    symlink("nowhere", at("tree/dangling")).unwrap();
    symlink("tree", at("link")).unwrap();
    for (name, to) in [("tree", "to"), ("link", "to link")] {
        let remarks = there_and_back(&at(name), true, &at(to));
        assert_eq!(fs::read_to_string(at(to).join("out/f")).unwrap(), "outside");
        assert!(at(to).join("out").symlink_metadata().unwrap().is_dir());
        assert_eq!(fs::read_dir(at(to).join("d")).unwrap().count(), 0);
        assert_eq!(remarks.failures.named.len(), 2, "{remarks:?}");
    }
}

#[test]
fn the_end_may_be_filled_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut archive = Archive::default();
    let kind = EntryKind::File { size: 0 };
    let entry = |kind| banger_api::files::archive::Entry {
        path: b"a".to_vec(),
        kind,
        mode: 0o644,
        mtime: Default::default(),
    };
    put_entry(&mut archive.0, &entry(kind));
    put_end(&mut archive.0);
    archive.0.resize(10 << 10, 0);
    assert_eq!(copy("/a", dir.path(), &archive.0).unwrap(), Remarks::default());
}
