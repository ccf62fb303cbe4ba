//! What a guest may send, and what becomes of it.

use std::fs;
use std::mem::ManuallyDrop;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use banger_api::files::archive::{Entry, EntryKind, Item, Timestamp, put_end, put_entry, put_padding};
use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use tokio::sync::mpsc;

use super::{CopyError, Filter, GuestPath, Moved, Names, Remarks, Source, Target, Unpacker, pack, receive};
use crate::copy::receive::Sink;

pub(super) const LIMIT: u64 = 1 << 20;

#[derive(Clone, Debug, Default)]
pub(super) struct Archive(pub(super) BytesMut);

impl Archive {
    pub(super) fn entry(mut self, path: &str, mode: u32, kind: EntryKind) -> Self {
        let mtime = Timestamp { seconds: 1_600_000_000, nanoseconds: 0 };
        put_entry(&mut self.0, &Entry { path: path.into(), kind, mode, mtime });
        self
    }

    pub(super) fn file(self, path: &str, content: &str) -> Self {
        let size = content.len() as u64;
        let mut this = self.entry(path, 0o644, EntryKind::File { size });
        this.0.extend_from_slice(content.as_bytes());
        put_padding(&mut this.0, size);
        this
    }

    pub(super) fn dir(self, path: &str) -> Self {
        self.entry(path, 0o755, EntryKind::Directory)
    }

    fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(path, 0o777, EntryKind::Symlink { target: target.into() })
    }

    fn hardlink(self, path: &str, target: &str) -> Self {
        self.entry(path, 0o644, EntryKind::Hardlink { target: target.into() })
    }

    pub(super) fn end(mut self) -> Bytes {
        put_end(&mut self.0);
        self.0.freeze()
    }
}

pub(super) fn from(path: &str) -> GuestPath {
    GuestPath { vm: "x".into(), path: path.into() }
}

pub(super) fn feed(archive: &[u8], sink: impl Sink) -> Result<Remarks, CopyError> {
    let (sender, pieces) = mpsc::channel(archive.len() / 700 + 1);
    for piece in archive.chunks(700) {
        sender.try_send(Bytes::copy_from_slice(piece)).unwrap();
    }
    drop(sender);
    receive(pieces, sink, LIMIT)
}

/// `banger cp x:FROM TO` with a guest that sends `archive`.
pub(super) fn copy(path: &str, to: &Path, archive: &[u8]) -> Result<Remarks, CopyError> {
    copy_on(true, path, to, archive)
}

/// The same, to a file system that has files without a name, or has not.
fn copy_on(nameless: bool, path: &str, to: &Path, archive: &[u8]) -> Result<Remarks, CopyError> {
    let mut unpacker = Unpacker::new(Target::find(&from(path), to)?, LIMIT)?;
    unpacker.nameless = nameless;
    feed(archive, unpacker)
}

/// One that nothing is cleaned up after, as when its process is killed.
struct Killed(ManuallyDrop<Unpacker>);

impl Sink for Killed {
    fn take(&mut self, item: Item) -> Result<(), CopyError> {
        self.0.take(item)
    }

    fn finish(&mut self) -> Result<(), CopyError> {
        self.0.finish()
    }
}

/// Everything below a directory, with what it contains.
fn tree(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut left = vec![dir.to_owned()];
    while let Some(path) = left.pop() {
        let content = match fs::symlink_metadata(&path).unwrap() {
            found if found.is_dir() => {
                left.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
                Vec::new()
            }
            found if found.is_symlink() => {
                fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
            }
            _ => fs::read(&path).unwrap(),
        };
        found.push((path.strip_prefix(dir).unwrap().to_string_lossy().into_owned(), content));
    }
    found.sort();
    found
}

#[test]
fn nothing_gets_out() {
    let outside = tempfile::tempdir().unwrap();
    let out = outside.path().to_str().unwrap();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    let a = || Archive::default().dir("a");
    for (what, archive) in [
        ("upwards", Archive::default().file("../x", "")),
        ("upwards from inside", a().file("a/../../x", "")),
        ("absolute", Archive::default().file("/etc/x", "")),
        ("absolute, for real", Archive::default().file(&format!("{out}/x"), "")),
        ("a symlink out", a().symlink("a/l", out).file("a/l/x", "")),
        ("a relative symlink out", a().symlink("a/l", "../..").file("a/l/x", "")),
        ("a symlink to a symlink", a().symlink("a/l", "m").symlink("a/m", out).file("a/l/x", "")),
        ("a symlink inside", a().dir("a/d").symlink("a/l", "d").file("a/l/x", "")),
        ("a directory over a symlink", a().symlink("a/l", out).dir("a/l")),
        ("the top as a symlink", Archive::default().symlink("a", out).file("a/x", "")),
        ("a hardlink upwards", a().hardlink("a/h", "../../etc/passwd")),
        ("a hardlink inside", a().file("a/f", "").hardlink("a/h", "a/f")),
        ("an absolute hardlink", a().hardlink("a/h", &format!("{out}/secret"))),
        ("a device", a().entry("a/null", 0o666, EntryKind::Other { type_flag: b'3' })),
        ("a block device", a().entry("a/disk", 0o666, EntryKind::Other { type_flag: b'4' })),
        ("a FIFO", a().entry("a/fifo", 0o666, EntryKind::Other { type_flag: b'6' })),
        ("another name", a().file("b", "")),
        ("another name first", Archive::default().file("b", "")),
        ("through a local symlink", a().file("a/local/x", "")),
    ] {
        let dir = tempfile::tempdir_in(outside.path()).unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        symlink(outside.path(), dir.path().join("a/local")).unwrap();
        if what == "the top as a symlink" {
            fs::remove_dir_all(dir.path().join("a")).unwrap();
        }
        let error = copy("/root/a", dir.path(), &archive.end()).expect_err(what);
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 2, "{what}: {error}");
        assert!(!dir.path().join("b").exists(), "{what}");
    }
    assert_eq!(fs::metadata(outside.path().join("secret")).unwrap().nlink(), 1);
}

#[test]
fn special_bits_stay_in_the_guest() {
    let dir = tempfile::tempdir().unwrap();
    let archive = Archive::default()
        .entry("a", 0o7711, EntryKind::Directory)
        .entry("a/run", 0o6755, EntryKind::File { size: 0 })
        .entry("a/shared", 0o1777, EntryKind::Directory);
    copy("/a", dir.path(), &archive.end()).unwrap();
    let mode = |path: &str| fs::metadata(dir.path().join(path)).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode("a"), mode("a/run"), mode("a/shared")), (0o711, 0o755, 0o777));
    assert_eq!(fs::metadata(dir.path().join("a")).unwrap().mtime(), 1_600_000_000);
}

#[test]
fn a_copy_that_is_killed_leaves_no_part_of_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let archive =
        Archive::default().dir("a").file("a/first", "whole").file("a/second", &"x".repeat(9000)).end();
    let unpacker = Unpacker::new(Target::find(&from("/a"), dir.path()).unwrap(), LIMIT).unwrap();
    feed(&archive[..5000], Killed(ManuallyDrop::new(unpacker))).unwrap_err();
    let names: Vec<String> = tree(&dir.path().join("a")).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["", "first"]);
}

#[test]
fn files_are_replaced_whole_or_not_at_all() {
    replaced_whole_or_not_at_all(true);
    replaced_whole_or_not_at_all(false);
}

fn replaced_whole_or_not_at_all(nameless: bool) {
    let copy = |path: &str, to: &Path, archive: &[u8]| copy_on(nameless, path, to, archive);
    let dir = tempfile::tempdir().unwrap();
    let at = |path: &str| dir.path().join(path);
    fs::write(at("victim"), "untouched").unwrap();
    symlink("victim", at("link")).unwrap();
    fs::write(at("old"), "old").unwrap();
    fs::hard_link(at("old"), at("other name")).unwrap();

    copy("/link", dir.path(), &Archive::default().file("link", "new").end()).unwrap();
    copy("/old", dir.path(), &Archive::default().file("old", "new").end()).unwrap();
    let read = |path: &str| fs::read_to_string(at(path)).unwrap();
    assert_eq!((read("victim"), read("link")), ("untouched".into(), "new".into()));
    assert_eq!((read("old"), read("other name")), ("new".into(), "old".into()));

    let before = tree(dir.path());
    let whole = Archive::default().file("old", &"newer".repeat(1000)).end();
    for len in [0, 511, 512, 1000, 5000, 5512] {
        let error = copy("/old", dir.path(), &whole[..len]).unwrap_err();
        assert!(matches!(error, CopyError::Archive(_)), "{error}");
        let after = tree(dir.path());
        assert!(after == before || len == 5512, "{len}: {after:?}");
    }
}

#[test]
fn there_is_an_end_to_what_a_guest_sends() {
    let dir = tempfile::tempdir().unwrap();
    let large = Archive::default().entry("a", 0o644, EntryKind::File { size: LIMIT });
    assert!(matches!(copy("/a", dir.path(), &large.0), Err(CopyError::TooLarge { .. })));
    let endless =
        (0..1000).fold(Archive::default().dir("a"), |archive, n| archive.file(&format!("a/{n}"), ""));
    assert!(matches!(copy("/a", dir.path(), &endless.0), Err(CopyError::TooLarge { .. })));
    assert!(fs::read_dir(dir.path().join("a")).unwrap().count() <= 256);
    let mut out = Vec::new();
    let large = Archive::default().entry("a", 0o644, EntryKind::File { size: LIMIT + 1 });
    let refused = feed(&large.0, Filter::new(Names::of(&from("/a")), &mut out, LIMIT));
    assert!(matches!(refused, Err(CopyError::TooLarge { .. })) && out.is_empty());
}

#[test]
fn what_is_passed_on_obeys_the_same_rules() {
    let pass = |path: &str, archive: Archive| {
        let mut out = Vec::new();
        feed(&archive.end(), Filter::new(Names::of(&from(path)), &mut out, LIMIT)).map(|_| out)
    };
    let good = Archive::default().dir("a").file("a/f", "content").symlink("a/l", "/etc");
    assert_eq!(pass("/root/a", good.clone()).unwrap(), good.end());
    let contents = Archive::default().dir("./").file("./f", "content");
    let expected = Archive::default().dir(".").file("f", "content").end();
    assert_eq!(pass("/root/.", contents).unwrap(), expected);
    for bad in [
        Archive::default().file("../a", ""),
        Archive::default().file("/a", ""),
        Archive::default().file("b", ""),
        Archive::default().dir("a").hardlink("a/h", "/etc/passwd"),
        Archive::default().dir("a").entry("a/null", 0o666, EntryKind::Other { type_flag: b'3' }),
    ] {
        assert!(pass("/root/a", bad).is_err());
    }
}

#[test]
fn what_is_sent_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    fs::create_dir_all(source.join("d/e")).unwrap();
    fs::write(source.join("d/large"), vec![7; 300_000]).unwrap();
    fs::write(source.join("new\nline"), "x").unwrap();
    symlink("/nowhere", source.join("d/link")).unwrap();
    let (sender, pieces) = mpsc::channel(100);
    let found = Source::find(&source, false).unwrap();
    pack(&found, b"a", false, &sender, &Moved::default()).unwrap();
    drop(sender);
    let mut pieces = pieces;
    let mut archive = Vec::new();
    while let Some(piece) = pieces.blocking_recv() {
        archive.extend_from_slice(&piece.unwrap());
    }
    copy("/root/a", &dir.path().join("back"), &archive).unwrap();
    assert_eq!(tree(&dir.path().join("back")), tree(&source));
}

/// Names, kinds and targets that are likely to do harm together.
fn hostile() -> impl Strategy<Value = Archive> {
    let name = prop::sample::select(vec![
        "a",
        "a/l",
        "a/l/x",
        "a/l/l",
        "a/d",
        "a/d/l",
        "a/d/l/x",
        "a/d/d",
        "a/l/../x",
        "../x",
        "/x",
        "b",
        "a/local/x",
        "a/local",
    ]);
    let target =
        prop::sample::select(vec!["..", "../..", "../../..", "l", "d", "/", "../secret", "a/d", "local"]);
    let entry = (name, target, 0u8..5);
    prop::collection::vec(entry, 0..12).prop_map(|entries| {
        entries.into_iter().fold(Archive::default().dir("a"), |archive, (name, target, kind)| match kind {
            0 => archive.file(name, "hostile"),
            1 => archive.dir(name),
            2 | 3 => archive.symlink(name, target),
            _ => archive.hardlink(name, target),
        })
    })
}

proptest! {
    #[test]
    fn no_archive_gets_out(archive in hostile(), nameless in any::<bool>()) {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "secret").unwrap();
        let dir = outside.path().join("inside");
        fs::create_dir_all(dir.join("a")).unwrap();
        symlink(outside.path(), dir.join("a/local")).unwrap();
        let _ = copy_on(nameless, "/root/a", &dir, &archive.end());
        prop_assert_eq!(fs::read_to_string(outside.path().join("secret")).unwrap(), "secret");
        prop_assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 2);
        prop_assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        let names = tree(&dir);
        prop_assert!(names.iter().all(|(name, _)| !name.contains(".banger-")), "{:?}", names);
    }
}
