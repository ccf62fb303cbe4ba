use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;

use banger_guest_protocol::archive::{Decoder, EntryKind, Item as Part};
use futures_util::StreamExt as _;

use super::visit::visit;
use super::*;
use crate::operation::Reporter;

fn entry(index: usize, host: &Path, guest: &str, mode: Option<u32>) -> Entry {
    Entry { index, host: host.into(), guest: guest.into(), mode }
}

fn write(path: &Path, content: &[u8], mode: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
    chmod(path, mode);
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// What is in the archive, as `NAME MODE WHAT`, and what was told.
async fn packed(entries: &[Entry]) -> (Vec<String>, Vec<String>) {
    let survey = survey(entries).await.unwrap();
    let (archive, packing) = pack(entries, survey, &Reporter::unwatched());
    let mut archive = Box::pin(archive);
    let (mut decoder, mut sent, mut seen) = (Decoder::default(), Vec::new(), Survey::default());
    while let Some(Ok(chunk)) = archive.next().await {
        decoder.push(chunk);
        while let Some(part) = decoder.next().unwrap() {
            match part {
                Part::Entry(entry) => {
                    let what = match entry.kind {
                        EntryKind::File { size } => format!("{size} bytes "),
                        EntryKind::Directory => "directory".into(),
                        EntryKind::Symlink { target } => format!("to {}", String::from_utf8_lossy(&target)),
                        other => panic!("{other:?}"),
                    };
                    seen.files += u64::from(what != "directory");
                    sent.push(format!("{} {:o} {what}", String::from_utf8_lossy(&entry.path), entry.mode));
                }
                Part::Data(bytes) => {
                    seen.bytes += bytes.len() as u64;
                    if seen.bytes < 100 {
                        sent.last_mut().unwrap().push_str(&String::from_utf8_lossy(&bytes));
                    }
                }
                Part::Note(note) => panic!("{note:?}"),
                Part::Hole(_) | Part::End => {}
            }
        }
    }
    decoder.finish().unwrap();
    assert_eq!(seen, survey);
    (sent, packing.notices().await.unwrap())
}

#[tokio::test]
async fn files_are_private_unless_it_is_said_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    write(&at("token"), b"secret", 0o4755);
    symlink("token", at("link")).unwrap();
    let (sent, notices) = packed(&[
        entry(0, &at("token"), "token", None),
        entry(1, &at("link"), "bin/tool", Some(0o755)),
        entry(2, &at("token"), "token", Some(0o444)),
    ])
    .await;
    assert_eq!(
        sent,
        [
            "root/token 600 6 bytes secret",
            "root/bin/tool 755 6 bytes secret",
            "root/token 444 6 bytes secret"
        ]
    );
    assert_eq!(notices, Vec::<String>::new());
}

#[tokio::test]
async fn a_directory_keeps_its_modes_and_links() {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    write(&tree.join("sub/script"), b"#!", 0o6755);
    write(&tree.join("plain"), b"", 0o640);
    chmod(&tree.join("sub"), 0o2711);
    chmod(&tree, 0o750);
    symlink("/etc", tree.join("etc")).unwrap();
    symlink("tree", dir.path().join("link")).unwrap();
    let sorted = |(mut sent, _): (Vec<String>, Vec<String>)| {
        sent.sort();
        sent
    };
    let own = [
        "root/.t/ 750 directory",
        "root/.t/etc 777 to /etc",
        "root/.t/plain 640 0 bytes ",
        "root/.t/sub/ 711 directory",
        "root/.t/sub/script 755 2 bytes #!",
    ];
    // A name behind a link is as good as the place itself.
    for host in ["tree", "tree/", "link"] {
        assert_eq!(sorted(packed(&[entry(0, &dir.path().join(host), ".t", None)]).await), own, "{host}");
    }
    let given = own.map(|line| line.replace("plain 640", "plain 600").replace("script 755", "script 600"));
    assert_eq!(sorted(packed(&[entry(0, &tree, ".t", Some(0o600))]).await), given);
}

#[tokio::test]
async fn private_directories_stay_private() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    write(&at(".ssh/keys/id"), b"", 0o600);
    write(&at(".config/gh/hosts"), b"", 0o600);
    chmod(&at(".ssh"), 0o700);
    chmod(&at(".ssh/keys"), 0o500);
    chmod(&at(".config"), 0o700);
    chmod(&at(".config/gh"), 0o755);
    chmod(dir.path(), 0o700);
    let (sent, _) = packed(&[
        entry(0, &at(".ssh/keys/id"), ".ssh/keys/id", None),
        entry(1, &at(".config/gh/hosts"), ".config/gh/hosts", None),
        // Under another name it is another directory.
        entry(2, &at(".ssh/keys/id"), "other/id", None),
        entry(3, &at(".ssh/keys/id"), "id", None),
    ])
    .await;
    assert_eq!(
        sent,
        [
            "root/.ssh/ 700 directory",
            "root/.ssh/keys/ 700 directory",
            "root/.ssh/keys/id 600 0 bytes ",
            "root/.config/ 700 directory",
            "root/.config/gh/hosts 600 0 bytes ",
            "root/other/id 600 0 bytes ",
            "root/id 600 0 bytes ",
        ]
    );
}

#[tokio::test]
async fn what_is_missing_or_special_is_told_and_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::create_dir(at("run")).unwrap();
    let _sockets: Vec<_> =
        (0..5).map(|n| UnixListener::bind(at("run").join(n.to_string())).unwrap()).collect();
    let _agent = UnixListener::bind(at("agent")).unwrap();
    symlink("nowhere", at("dangling")).unwrap();
    chmod(&at("run"), 0o755);
    let (sent, notices) = packed(&[
        entry(0, &at("none"), "a", None),
        entry(1, &at("run"), "run", None),
        entry(2, &at("agent"), "agent", None),
        entry(3, &at("dangling"), "b", None),
        entry(4, Path::new("/dev/null"), "c", None),
    ])
    .await;
    assert_eq!(sent, ["root/run/ 755 directory"]);
    let shown = |index: usize, name: &str| format!("file_sync[{index}] ({})", at(name).display());
    assert_eq!(notices.len(), 5);
    assert_eq!(notices[0], format!("{} is not copied: it does not exist", shown(0, "none")));
    assert!(notices[1].starts_with(&format!("{}: no sockets, FIFOs", shown(1, "run"))), "{}", notices[1]);
    assert!(notices[1].ends_with(" and 2 more"), "{}", notices[1]);
    assert!(notices[2].ends_with(&format!(": {}", at("agent").display())), "{}", notices[2]);
    assert_eq!(notices[3], format!("{} is not copied: it does not exist", shown(3, "dangling")));
    assert!(notices[4].ends_with(": /dev/null"), "{}", notices[4]);
}

#[tokio::test]
async fn large_files_come_in_pieces() {
    let dir = tempfile::tempdir().unwrap();
    let content: Vec<u8> = (0..3_000_001_u32).map(|n| n as u8).collect();
    write(&dir.path().join("large"), &content, 0o600);
    let (sent, _) = packed(&[
        entry(0, &dir.path().join("large"), "large", None),
        entry(1, &dir.path().join("large"), "again", None),
    ])
    .await;
    assert_eq!(sent.len(), 2, "{sent:?}");
}

#[tokio::test]
async fn too_much_is_refused_before_anything_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    write(&at("small"), b"x", 0o600);
    let large = fs::File::create(at("large")).unwrap();
    large.set_len(ARCHIVE_MAX_LEN - 1024).unwrap();
    let entries = [entry(0, &at("small"), "a", None), entry(1, &at("large"), "b", None)];
    let error = survey(&entries).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "file_sync[1] ({}) is too much: all that [[file_sync]] names may come to 1024 MiB",
            at("large").display()
        )
    );
    // Empty files are not for nothing.
    let many = [entry(0, &at("small"), "a", None), entry(1, &at("small"), "b", None)];
    assert!(
        matches!(visit(&many, 1500, |_| Ok(())), Err(FileSyncError::TooLarge { entry, .. }) if entry.index == 1)
    );
    assert!(visit(&many, 2500, |_| Ok(())).is_ok());
}

#[tokio::test]
async fn what_cannot_be_read_is_named_with_its_entry() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    symlink("loop", at("loop")).unwrap();
    let entries = [entry(0, dir.path(), "a", None), entry(1, &at("loop"), "b", None)];
    let error = survey(&entries).await.unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("file_sync[1] (") && text.ends_with("/loop) could not be copied"), "{text}");
    assert!(matches!(error, FileSyncError::Walk { .. }));
}

#[tokio::test]
async fn what_shrinks_or_is_not_wanted_ends_the_archive() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    write(&path, &[1; 8_000_000], 0o600);
    let entries = [entry(0, &path, "log", None)];
    let (archive, packing) = pack(&entries, Survey::default(), &Reporter::unwatched());
    let mut archive = Box::pin(archive);
    archive.next().await.unwrap().unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_len(10).unwrap();
    while archive.next().await.is_some() {}
    assert!(matches!(packing.notices().await, Err(FileSyncError::Unread { .. })));

    write(&path, &[1; 8_000_000], 0o600);
    let (archive, packing) = pack(&entries, Survey::default(), &Reporter::unwatched());
    drop(archive);
    assert!(matches!(packing.notices().await, Err(FileSyncError::Cut)));
}
