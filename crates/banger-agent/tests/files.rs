//! Files in and out: what is written where, what is refused, and how failures are told.
#![allow(clippy::unwrap_used, reason = "clippy sees tests only in functions marked as such")]

mod host;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use banger_agent::agent::Agent;
use banger_agent::files::{self, FileError};
use banger_agent::init::supervisor::Supervisor;
use banger_agent::session::serve_port;
use banger_guest_protocol::archive::{
    Decoder, Entry, EntryKind, Item, Note, Timestamp, put_end, put_entry, put_padding,
};
use banger_guest_protocol::messages::{
    FileAt, FileKind, FileStat, GuestError, GuestErrorKind, Pack, Phase, Unpack, Unpacked,
};
use bytes::{Bytes, BytesMut};
use host::Host;
use http_body_util::{BodyExt, Full};
use hyper::StatusCode;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use tokio::net::UnixStream;

const MTIME: i64 = 1_600_000_000;

/// An archive under construction.
#[derive(Default)]
struct Archive(BytesMut);

impl Archive {
    fn entry(mut self, path: &[u8], mode: u32, kind: EntryKind) -> Self {
        let mtime = Timestamp { seconds: MTIME, nanoseconds: 0 };
        put_entry(&mut self.0, &Entry { path: path.to_vec(), kind, mode, mtime });
        self
    }

    fn file(self, path: &str, content: &str) -> Self {
        self.bytes(path.as_bytes(), 0o644, content.as_bytes())
    }

    fn bytes(self, path: &[u8], mode: u32, content: &[u8]) -> Self {
        let size = content.len() as u64;
        let mut this = self.entry(path, mode, EntryKind::File { size });
        this.0.extend_from_slice(content);
        put_padding(&mut this.0, size);
        this
    }

    fn dir(self, path: &str, mode: u32) -> Self {
        self.entry(path.as_bytes(), mode, EntryKind::Directory)
    }

    fn symlink(self, path: &str, target: &str) -> Self {
        self.entry(path.as_bytes(), 0o777, EntryKind::Symlink { target: target.into() })
    }

    fn hardlink(self, path: &str, target: &str) -> Self {
        self.entry(path.as_bytes(), 0o644, EntryKind::Hardlink { target: target.into() })
    }

    fn end(mut self) -> Bytes {
        put_end(&mut self.0);
        self.0.freeze()
    }
}

fn into(dir: &Path) -> Unpack {
    Unpack { dir: dir.as_os_str().to_owned().into(), create: false }
}

async fn unpack(archive: Bytes, dir: &Path) -> Result<Unpacked, FileError> {
    files::unpack(into(dir), Full::new(archive)).await
}

fn at(path: impl AsRef<Path>) -> FileAt {
    FileAt { path: path.as_ref().as_os_str().to_owned().into() }
}

fn whole(path: impl AsRef<Path>) -> Pack {
    Pack { path: at(path).path, follow: false }
}

async fn pack(path: impl AsRef<Path>) -> Bytes {
    files::pack(whole(path)).await.unwrap().collect().await.unwrap().to_bytes()
}

fn mode(path: impl AsRef<Path>) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

#[tokio::test]
async fn a_tree_arrives_as_it_was_sent() {
    let dir = tempfile::tempdir().unwrap();
    let odd = b"d/new\nline \xff\xfe";
    let long = format!("d/{}/{}", "x".repeat(200), "y".repeat(200));
    let archive = Archive::default()
        .dir("d", 0o700)
        .bytes(b"d/run", 0o4755, b"#!/bin/sh\n")
        .bytes(odd, 0o606, &[7; 200_000])
        .file(&long, "deep")
        .symlink("d/link", "/nowhere/at all")
        .hardlink("d/again", "d/run")
        .dir("d/empty", 0o1777)
        .file("no/such/parent", "")
        .end();
    let done = unpack(archive, dir.path()).await.unwrap();
    assert_eq!(done, Unpacked { files: 6, bytes: 200_014 });

    let at = |path: &str| dir.path().join(path);
    assert_eq!((mode(at("d")), mode(at("d/run")), mode(at("d/empty"))), (0o700, 0o4755, 0o1777));
    assert_eq!((mode(at("no")), mode(at("no/such"))), (0o755, 0o755));
    let odd = dir.path().join(OsStr::from_bytes(odd));
    assert_eq!((mode(&odd), fs::read(&odd).unwrap()), (0o606, vec![7; 200_000]));
    assert_eq!(fs::read_to_string(at(&long)).unwrap(), "deep");
    assert_eq!(fs::read_link(at("d/link")).unwrap(), Path::new("/nowhere/at all"));
    assert_eq!(fs::metadata(at("d/run")).unwrap().ino(), fs::metadata(at("d/again")).unwrap().ino());
    for path in ["d", "d/run", "d/link", "d/empty"] {
        assert_eq!(fs::symlink_metadata(at(path)).unwrap().mtime(), MTIME, "{path}");
    }
}

#[tokio::test]
async fn what_is_there_is_replaced_and_directories_stay() {
    let dir = tempfile::tempdir().unwrap();
    let at = |path: &str| dir.path().join(path);
    fs::create_dir_all(at("kept/inner")).unwrap();
    fs::write(at("kept/other"), "other").unwrap();
    fs::write(at("victim"), "untouched").unwrap();
    symlink("victim", at("link")).unwrap();
    symlink("kept", at("alias")).unwrap();
    symlink("/tmp", at("out")).unwrap();
    let archive = Archive::default()
        .file("link", "new")
        .dir("kept", 0o711)
        .symlink("kept/other", "x")
        .dir("alias", 0o755)
        .file("alias/through", "inside")
        .dir("out", 0o755)
        .file("out/x", "inside, too")
        .end();
    unpack(archive, dir.path()).await.unwrap();
    assert_eq!(fs::read_to_string(at("victim")).unwrap(), "untouched");
    assert_eq!(fs::read_to_string(at("link")).unwrap(), "new");
    assert_eq!(fs::read_link(at("kept/other")).unwrap(), Path::new("x"));
    assert_eq!(
        fs::read_to_string(at("kept/through")).unwrap(),
        "inside",
        "a symlink that stays inside is kept"
    );
    assert!(at("kept/inner").is_dir());
    assert!(at("out").symlink_metadata().unwrap().is_dir(), "one that leads out is replaced");
    assert_eq!(fs::read_to_string(at("out/x")).unwrap(), "inside, too");

    let error = unpack(Archive::default().file("kept", "").end(), dir.path()).await.unwrap_err();
    assert_eq!(error.kind(), GuestErrorKind::Refused, "{error}");
}

#[tokio::test]
async fn nothing_is_written_outside() {
    let outside = tempfile::tempdir().unwrap();
    let out = outside.path().to_str().unwrap();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    let archive = Archive::default;
    for (what, archive) in [
        ("upwards", archive().file("../x", "")),
        ("upwards in the middle", archive().file("a/../../x", "")),
        ("absolute symlink", archive().symlink("a", out).file("a/x", "")),
        ("relative symlink", archive().symlink("a", "..").file("a/x", "")),
        ("symlink to a symlink", archive().symlink("a", "b").symlink("b", out).file("a/x", "")),
        ("symlink under a new directory", archive().symlink("a", out).dir("a/b", 0o755)),
        ("hardlink upwards", archive().hardlink("a", "../secret")),
        ("absolute hardlink", archive().hardlink("a", &format!("{out}/secret"))),
        ("hardlink over a symlink", archive().symlink("l", out).hardlink("a", "l/secret")),
        ("device", archive().entry(b"null", 0o666, EntryKind::Other { type_flag: b'3' })),
        ("fifo", archive().entry(b"fifo", 0o666, EntryKind::Other { type_flag: b'6' })),
    ] {
        let dir = tempfile::tempdir_in(outside.path()).unwrap();
        let error = unpack(archive.end(), dir.path()).await.expect_err(what);
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 2, "{what}: {error}");
    }
    assert_eq!(fs::metadata(outside.path().join("secret")).unwrap().nlink(), 1);
}

#[tokio::test]
async fn names_are_taken_as_tar_takes_them() {
    let dir = tempfile::tempdir().unwrap();
    let archive = Archive::default()
        .file("/a/absolute", "1")
        .file("b/../up", "2")
        .hardlink("linked", "/a/absolute")
        .end();
    unpack(archive, dir.path()).await.unwrap();
    let read = |path: &str| fs::read_to_string(dir.path().join(path)).unwrap();
    assert_eq!((read("a/absolute"), read("up"), read("linked")), ("1".into(), "2".into(), "1".into()));
}

#[tokio::test]
async fn a_directory_is_made_or_must_be_there() {
    let dir = tempfile::tempdir().unwrap();
    let new = dir.path().join("new");
    let create = Unpack { create: true, ..into(&new) };
    let send = |what: &Unpack, archive: Bytes| files::unpack(what.clone(), Full::new(archive));
    let kind = |outcome: Result<Unpacked, FileError>| outcome.unwrap_err().kind();

    let refused = Archive::default().file("a", "b").file("../x", "").end();
    assert_eq!(kind(send(&create, refused).await), GuestErrorKind::Failed);
    assert!(!new.exists(), "what was made for an archive that failed is gone");

    send(&create, Archive::default().dir(".", 0o750).file("a", "b").end()).await.unwrap();
    assert_eq!((mode(&new), fs::metadata(&new).unwrap().mtime()), (0o750, MTIME));
    let archive = || Archive::default().file("a", "c").end();
    assert_eq!(kind(send(&create, archive()).await), GuestErrorKind::Refused);
    assert_eq!(fs::read_to_string(new.join("a")).unwrap(), "b");
    assert_eq!(kind(send(&into(&new.join("none")), archive()).await), GuestErrorKind::NotFound);
    assert_eq!(kind(send(&into(&new.join("a")), archive()).await), GuestErrorKind::Refused);
    let relative = Unpack { dir: "tmp".into(), create: false };
    assert!(matches!(send(&relative, archive()).await, Err(FileError::NotAbsolute { .. })));
}

#[tokio::test]
async fn an_archive_that_breaks_off_leaves_no_half_file() {
    let dir = tempfile::tempdir().unwrap();
    let whole = Archive::default().file("first", "whole").bytes(b"second", 0o644, &[1; 10_000]).end();
    for len in [0, 100, 1024, 1536, 5000, 10_000] {
        let error = unpack(whole.slice(..len), dir.path()).await.unwrap_err();
        assert!(error.to_string().contains("archive"), "{error}");
        assert!(!dir.path().join("second").exists(), "{len}");
    }
    assert_eq!(fs::read_to_string(dir.path().join("first")).unwrap(), "whole");
}

#[tokio::test]
async fn what_is_packed_can_be_unpacked() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    let odd = OsStr::from_bytes(b"odd \n\xff");
    fs::create_dir_all(tree.join(odd).join("deep")).unwrap();
    fs::write(tree.join(odd).join("file"), vec![9; 300_000]).unwrap();
    fs::write(tree.join("empty"), "").unwrap();
    fs::write(tree.join("x".repeat(255)), "long").unwrap();
    fs::set_permissions(tree.join("empty"), fs::Permissions::from_mode(0o2711)).unwrap();
    symlink("../..", tree.join("up")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, tree.join("fifo"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();

    for (path, top) in [(tree.clone(), "tree"), (tree.join(""), "tree"), (tree.join("."), "")] {
        let to = tempfile::tempdir().unwrap();
        let done = unpack(pack(&path).await, to.path()).await.unwrap();
        assert_eq!(done, Unpacked { files: 4, bytes: 300_004 });
        let to = to.path().join(top);
        assert_eq!(fs::read(to.join(odd).join("file")).unwrap(), vec![9; 300_000]);
        assert!(to.join(odd).join("deep").is_dir());
        assert_eq!(fs::read_link(to.join("up")).unwrap(), Path::new("../.."));
        assert_eq!(mode(to.join("empty")), 0o2711);
        assert_eq!(fs::metadata(&to).unwrap().mtime(), fs::metadata(&tree).unwrap().mtime());
        assert!(!to.join("fifo").exists());
    }
    let mut decoder = Decoder::default();
    decoder.push(pack(&tree).await);
    let mut skipped = Vec::new();
    while let Some(item) = decoder.next().unwrap() {
        if let Item::Note(Note::Skipped { path }) = item {
            skipped.push(path);
        }
    }
    assert_eq!(skipped, [b"tree/fifo"]);
}

#[tokio::test]
async fn links_are_packed_as_links() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("d")).unwrap();
    fs::write(dir.path().join("d/f"), "f").unwrap();
    symlink("d", dir.path().join("link")).unwrap();
    let first = |bytes: Bytes| {
        let mut decoder = Decoder::default();
        decoder.push(bytes);
        match decoder.next().unwrap() {
            Some(Item::Entry(entry)) => (entry.path, entry.kind),
            other => panic!("{other:?}"),
        }
    };
    let link = dir.path().join("link");
    let target = b"d".to_vec();
    assert_eq!(first(pack(&link).await), (b"link".to_vec(), EntryKind::Symlink { target }));
    assert_eq!(first(pack(link.join("")).await), (b"link/".to_vec(), EntryKind::Directory));
    assert_eq!(first(pack(link.join(".")).await), (b"./".to_vec(), EntryKind::Directory));

    for (path, kind) in [
        (dir.path().join("none"), GuestErrorKind::NotFound),
        (dir.path().join("none/x"), GuestErrorKind::NotFound),
        (dir.path().join("d/f/x"), GuestErrorKind::Refused),
        (dir.path().join("d/f/."), GuestErrorKind::Refused),
        ("/dev/null".into(), GuestErrorKind::Refused),
        ("/tmp/..".into(), GuestErrorKind::Failed),
        ("tmp".into(), GuestErrorKind::Failed),
    ] {
        let error = files::pack(whole(&path)).await.err().unwrap();
        assert_eq!(error.kind(), kind, "{}: {error}", path.display());
    }
    let stat =
        |path| async { files::stat(at(path)).await.map(|stat| stat.kind).map_err(|error| error.kind()) };
    assert_eq!(stat(link).await, Ok(FileKind::Directory));
    assert_eq!(stat(dir.path().join("d/f")).await, Ok(FileKind::File));
    assert_eq!(stat("/dev/null".into()).await, Ok(FileKind::Other));
    assert_eq!(stat(dir.path().join("x")).await, Err(GuestErrorKind::NotFound));
}

#[tokio::test]
async fn a_source_that_cannot_be_read_is_told_and_is_no_archive() {
    let mut body = files::pack(whole("/proc/self/mem")).await.unwrap();
    let (mut decoder, mut note) = (Decoder::default(), None);
    while let Some(frame) = body.frame().await {
        // An error of the stream could overtake the note that says why.
        decoder.push(frame.unwrap().into_data().unwrap());
        while let Some(item) = decoder.next().unwrap() {
            if let Item::Note(found) = item {
                note = Some(found);
            }
        }
    }
    let Some(Note::Failed { reason }) = note else { panic!("{note:?}") };
    assert!(reason.contains("mem could not be read"), "{reason}");
    assert!(decoder.finish().is_err());
}

#[tokio::test]
async fn the_host_asks_over_the_session() {
    let (ours, _) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None).unwrap();
    let agent = Arc::new(Agent::new(Supervisor::new(ours)));
    let (channel, mut theirs) = UnixStream::pair().unwrap();
    let serving = agent.clone();
    tokio::spawn(async move { serve_port(&mut theirs, &serving).await.unwrap() });
    let host = Host::connect(channel).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let unpack = format!("/v1/files/unpack?{}", into(dir.path()).to_query());
    let archive = Archive::default().file("a", "content").end();
    let (status, _) = host.request("POST", &unpack, archive.clone()).await.unwrap();
    assert_eq!(status, StatusCode::CONFLICT, "there is no root yet");
    assert!(agent.advance(Phase::AwaitingConfigure, Phase::Ready));

    let (status, body) = host.request("POST", &unpack, archive).await.unwrap();
    assert_eq!(status, StatusCode::OK);
    assert_eq!(serde_json::from_slice::<Unpacked>(&body).unwrap(), Unpacked { files: 1, bytes: 7 });
    let query = at(dir.path().join("a")).to_query();
    let (status, body) = host.request("GET", &format!("/v1/files/pack?{query}"), "").await.unwrap();
    assert_eq!((status, body.len()), (StatusCode::OK, 2048));
    let (_, body) = host.request("GET", &format!("/v1/files/stat?{query}"), "").await.unwrap();
    assert_eq!(serde_json::from_slice::<FileStat>(&body).unwrap(), FileStat { kind: FileKind::File });

    let missing = at(dir.path().join("none")).to_query();
    for (method, path, expected) in [
        ("GET", format!("/v1/files/pack?{missing}"), StatusCode::NOT_FOUND),
        ("GET", format!("/v1/files/stat?{missing}"), StatusCode::NOT_FOUND),
        ("GET", "/v1/files/stat".into(), StatusCode::BAD_REQUEST),
        ("POST", "/v1/files/unpack?dir=/&x=1".into(), StatusCode::BAD_REQUEST),
        ("GET", "/v1/files/unpack".into(), StatusCode::METHOD_NOT_ALLOWED),
    ] {
        let (status, body) = host.request(method, &path, "").await.unwrap();
        assert_eq!(status, expected, "{path}");
        let guest_error: GuestError = serde_json::from_slice(&body).unwrap();
        assert_eq!(
            guest_error.kind == GuestErrorKind::NotFound,
            status == StatusCode::NOT_FOUND,
            "{guest_error:?}"
        );
    }
    // A long body after a failure: it is read, so that its sender sees the answer.
    let long = Archive::default().file("../x", "").bytes(b"y", 0o644, &vec![0; 8 << 20]).end();
    let (status, body) = host.request("POST", &unpack, long).await.unwrap();
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(String::from_utf8_lossy(&body).contains("../x"));
}
