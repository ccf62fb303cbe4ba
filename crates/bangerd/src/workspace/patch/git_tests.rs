//! Patches of the real git, read and compared with what git says of them.

use super::git_fixture::{Counted, Repository, applies, numstat};
use super::{ChangeKind, FileChange, FileMode, read};

type Files<'a> = Vec<(&'a str, &'a [u8], Vec<u8>)>;

const COMMIT_A: &[u8] = b"1111111111111111111111111111111111111111";
const COMMIT_B: &[u8] = b"2222222222222222222222222222222222222222";

pub(super) fn counted(changes: &[FileChange]) -> Vec<Counted> {
    let count = |change: &FileChange| (!change.binary).then_some((change.added, change.removed));
    changes.iter().map(|change| (change.path.as_bytes().to_vec(), count(change))).collect()
}

fn lines(range: std::ops::Range<u32>) -> Vec<u8> {
    range.flat_map(|number| format!("line {number}\n").into_bytes()).collect()
}

/// Bytes that do not compress, so that they make a binary section of many lines.
fn noise(length: u32) -> Vec<u8> {
    (0..length).map(|place| (place.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

fn names() -> Vec<&'static [u8]> {
    vec![
        b"plain",
        b"with space",
        b" leading and trailing ",
        b"x b/x b/x",
        b"quo\"te",
        b"back\\slash",
        b"tab\there",
        b"new\nline",
        b"carriage\rreturn",
        b"control\x01\x7f",
        b"latin\xe9",
        "uml\u{e4}ut \u{1f980}".as_bytes(),
        b"space and\ttab",
        b"dir with space/sub/file",
        b"dev/null",
        b"a/b/c",
        b"-dash",
    ]
}

/// Everything a tree can hold before and after, as far as one patch can show it.
pub(super) fn everything() -> (Files<'static>, Files<'static>) {
    let mut old: Files = Vec::new();
    let mut new: Files = Vec::new();
    for (index, name) in names().into_iter().enumerate() {
        let content = [lines(0..40), format!("only {index}\n").into_bytes()].concat();
        let changed = [b"first\n".as_slice(), &content, b"last without newline"].concat();
        old.push(("100644", [b"modified/", name].concat().leak(), content.clone()));
        new.push(("100644", [b"modified/", name].concat().leak(), changed.clone()));
        let own = [noise(200), format!("own {index}\n").into_bytes()].concat();
        let own: Vec<u8> = own.iter().map(|byte| b'a' + byte % 23).chain([b'\n']).collect();
        old.push(("100644", [b"before/", name].concat().leak(), [own.clone(), content].concat()));
        new.push(("100644", [b"after/", name].concat().leak(), [own, changed].concat()));
        new.push(("100644", [b"empty/", name].concat().leak(), Vec::new()));
        old.push(("100644", [b"mode/", name].concat().leak(), lines(index as u32..50)));
        new.push(("100755", [b"mode/", name].concat().leak(), lines(index as u32..50)));
    }
    old.extend(old_files());
    new.extend(new_files());
    (old, new)
}

fn old_files() -> Files<'static> {
    vec![
        ("100644", b"pure".as_slice(), lines(100..160)),
        ("100644", b"pure with mode", lines(200..260)),
        ("100644", b"gone", lines(0..3)),
        ("100644", b"gone empty", Vec::new()),
        ("100644", b"emptied", lines(0..3)),
        ("100644", b"filled", Vec::new()),
        ("100644", b"mode and content", lines(300..320)),
        ("100644", b"crlf", b"one\r\ntwo\r\nthree\r\n".to_vec()),
        ("100644", b"no newline", b"one\ntwo".to_vec()),
        ("100644", b"loses newline", b"one\ntwo\n".to_vec()),
        ("100644", b"binary", noise(5000)),
        ("100644", b"gone binary", noise(70)),
        ("120000", b"link", b"plain".to_vec()),
        ("120000", b"odd link", b"one\ntwo\0".to_vec()),
        ("120000", b"gone link", b"plain".to_vec()),
        ("120000", b"moved link", b"somewhere unique".to_vec()),
        ("100644", b"becomes link", lines(0..5)),
        ("120000", b"becomes file", b"plain".to_vec()),
        ("100644", b"becomes directory", lines(400..405)),
        ("160000", b"module", COMMIT_A.to_vec()),
        ("160000", b"gone module", COMMIT_A.to_vec()),
        ("100644", b"becomes module", lines(0..2)),
        ("100644", b"markers", b"x\n".to_vec()),
        ("100644", b"many hunks", lines(0..300)),
    ]
}

fn new_files() -> Files<'static> {
    let many: Vec<u8> = lines(0..300).split_inclusive(|byte| *byte == b'\n').enumerate().fold(
        Vec::new(),
        |mut text, (number, line)| {
            match number % 30 {
                0 => text.extend_from_slice(b"changed\n"),
                7 => {}
                8 => text.extend([line, b"inserted\n"].concat()),
                _ => text.extend_from_slice(line),
            }
            text
        },
    );
    let delta = [noise(5000), b"more".to_vec()].concat();
    let markers = b"x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\ndiff --git a/x b/x\n\\ No newline at end of file\nGIT binary patch\n\n";
    vec![
        ("100644", b"pure renamed".as_slice(), lines(100..160)),
        ("100755", b"pure renamed with mode", lines(200..260)),
        ("100644", b"emptied", Vec::new()),
        ("100644", b"filled", lines(0..3)),
        ("100755", b"mode and content", lines(300..321)),
        ("100644", b"crlf", b"one\r\ntwo\nthree\r\n\r\n".to_vec()),
        ("100644", b"no newline", b"one\nthree".to_vec()),
        ("100644", b"loses newline", b"one\ntwo".to_vec()),
        ("100644", b"binary", delta),
        ("100755", b"new binary", noise(3000)),
        ("120000", b"link", b"other".to_vec()),
        ("120000", b"odd link", b"two\nthree\0".to_vec()),
        ("120000", b"new link", b"dir/target".to_vec()),
        ("120000", b"deeper/moved link", b"somewhere unique".to_vec()),
        ("120000", b"becomes link", b"plain".to_vec()),
        ("100644", b"becomes file", lines(0..5)),
        ("100644", b"becomes directory/file", lines(500..505)),
        ("160000", b"module", COMMIT_B.to_vec()),
        ("160000", b"new module", COMMIT_B.to_vec()),
        ("160000", b"becomes module", COMMIT_B.to_vec()),
        ("100644", b"markers", markers.to_vec()),
        ("100644", b"new markers", markers.to_vec()),
        ("100644", b"many hunks", many),
        ("100644", b"long line", [vec![b'x'; 300_000], b"\ny\n".to_vec()].concat()),
    ]
}

fn borrowed<'a>(files: &'a Files) -> Vec<(&'a str, &'a [u8], &'a [u8])> {
    files.iter().map(|(mode, path, content)| (*mode, *path, content.as_slice())).collect()
}

/// The patch from one set of files to another.
pub(super) fn patch_of(old: &Files, new: &Files) -> Vec<u8> {
    let repository = Repository::new("sha1");
    let (base, new) = (repository.tree(&borrowed(old)), repository.tree(&borrowed(new)));
    repository.patch(&base, &new)
}

fn mode(digits: &str) -> Option<FileMode> {
    FileMode::parse(digits.as_bytes())
}

/// Holds our reading against `git diff-tree --raw`, which shows a change of type as one entry.
fn assert_same_as_raw(changes: &[FileChange], raw: &[(Vec<String>, Vec<Vec<u8>>)]) {
    let mut changes = changes.iter();
    for (words, paths) in raw {
        let change = changes.next().unwrap_or_else(|| panic!("{words:?} {paths:?} is missing"));
        let id = |text: &str| (!text.bytes().all(|byte| byte == b'0')).then(|| text.to_owned());
        let (old_id, new_id) = (id(&words[2]), id(&words[3]));
        let ours = |id: Option<super::BlobId>| id.map(|id| id.to_string());
        let last_path = paths.last().unwrap();
        assert_eq!(change.path.as_bytes(), last_path, "{words:?}");
        let kind = match &words[4][..1] {
            "A" => ChangeKind::Added,
            "D" => ChangeKind::Deleted,
            "M" => ChangeKind::Modified,
            "R" => ChangeKind::Renamed,
            "T" => {
                let added = changes.next().unwrap();
                assert_eq!((change.kind, added.kind), (ChangeKind::Deleted, ChangeKind::Added));
                assert_eq!((change.old_mode, added.new_mode), (mode(&words[0]), mode(&words[1])));
                assert_eq!((ours(change.old_id), ours(added.new_id)), (old_id, new_id));
                assert_eq!(added.path.as_bytes(), last_path);
                continue;
            }
            other => panic!("status {other}"),
        };
        assert_eq!(change.kind, kind, "{words:?} {change:?}");
        if kind == ChangeKind::Renamed {
            assert_eq!(change.renamed_from.as_ref().unwrap().as_bytes(), paths[0]);
        }
        if old_id != new_id || words[0] != words[1] {
            assert_eq!((change.old_mode, change.new_mode), (mode(&words[0]), mode(&words[1])), "{change:?}");
        }
        if old_id != new_id {
            assert_eq!((ours(change.old_id), ours(change.new_id)), (old_id, new_id), "{change:?}");
        }
    }
    assert_eq!(changes.next(), None);
}

#[test]
fn everything_is_read_as_git_reads_it() {
    let (old, new) = everything();
    let repository = Repository::new("sha1");
    let (base_tree, new_tree) = (repository.tree(&borrowed(&old)), repository.tree(&borrowed(&new)));
    for (from, to) in [(&base_tree, &new_tree), (&new_tree, &base_tree)] {
        let patch = repository.patch(from, to);
        let changes = read(patch.as_slice(), &mut ()).unwrap();
        assert_same_as_raw(&changes, &repository.raw(from, to));
        assert_eq!(Some(counted(&changes)), numstat(&patch));
    }
}

#[test]
fn the_patches_are_what_the_tests_are_about() {
    let (old, new) = everything();
    let patch = patch_of(&old, &new);
    let text = String::from_utf8_lossy(&patch);
    for part in
        ["\nrename from ", "\nliteral ", "\ndelta ", "\nold mode ", "Subproject", "similarity index 100%"]
    {
        assert!(text.contains(part), "no {part:?} in the patch");
    }
}

#[test]
fn sha256_repositories_are_read() {
    let repository = Repository::new("sha256");
    let base = repository.tree(&[("100644", b"a", b"one\n"), ("100644", b"b", b"")]);
    let new = repository.tree(&[("100644", b"a", b"two\n"), ("100644", b"c", b"")]);
    let changes = read(repository.patch(&base, &new).as_slice(), &mut ()).unwrap();
    assert_same_as_raw(&changes, &repository.raw(&base, &new));
    assert!(changes[0].new_id.unwrap().is_sha256());
}

#[test]
fn text_that_git_was_told_is_text_may_hold_anything() {
    let repository = Repository::new("sha1");
    let base = repository.tree(&[("100644", b"a", b"one\0\n\xff\n")]);
    let new = repository.tree(&[("100644", b"a", b"one\0\n\xfe\0\r\n\r")]);
    let rest = ["--full-index", "-M", "--text", &base, &new];
    let patch = repository.run(&[&["diff-tree", "-p", "--binary"][..], &rest[..]].concat(), b"");
    let changes = read(patch.as_slice(), &mut ()).unwrap();
    assert!(!changes[0].binary);
    assert_eq!(Some(counted(&changes)), numstat(&patch));
}

#[test]
fn nothing_changed_is_an_empty_patch() {
    assert_eq!(read(b"".as_slice(), &mut ()).unwrap(), []);
    assert_eq!(numstat(b""), Some(Vec::new()));
}

/// The reading is worth something only for patches that apply.
#[test]
fn the_patches_apply() {
    let (old, new) = everything();
    // Git applies no change of a gitlink without an index.
    let without = |files: Files<'static>| -> Files<'static> {
        files.into_iter().filter(|(_, path, _)| !path.ends_with(b"module") && *path != b"odd link").collect()
    };
    let (old, new) = (without(old), without(new));
    assert!(applies(&borrowed(&old), &patch_of(&old, &new)));
}
