//! What is written to the host's working tree is what was read from the patch, whatever the files and the
//! host's settings are.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};

use proptest::collection::btree_map;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::workspace::export::symlink_to_directory;

#[derive(Clone, Debug)]
enum Kind {
    File { content: Vec<u8>, mode: u32 },
    Symlink { target: &'static str },
}

type Tree = BTreeMap<&'static str, Kind>;

const PATHS: &[&str] = &[
    "a",
    "a/b",
    "b",
    "d/e",
    "d/e/f",
    "d/g",
    "sp ace/x y",
    "quo\"te",
    "line\nend",
    "-dash",
    "UP/up.TXT",
    "\u{e9}",
    "x.txt",
    "y.bin",
];

/// The host's attributes, and its `core.autocrlf`.
const SETTINGS: &[(&str, &str)] = &[
    ("", "false"),
    ("", "input"),
    ("", "true"),
    ("* text=auto eol=crlf\n", "false"),
    ("*.txt text\n* ident\n", "true"),
    ("*.txt text working-tree-encoding=ISO-8859-1\n", "false"),
    ("* -text\n", "true"),
];

fn kind() -> impl Strategy<Value = Kind> {
    let contents: &[&[u8]] = &[
        b"",
        b"one",
        b"one\ntwo\nthree\n",
        b"one\r\ntwo\r\n",
        b"one\r\ntwo\n",
        b"$Id$\nx\n",
        b"$Id: expanded $\n",
        b"\0\x01\xff\r\n",
        b"diff --git a/x b/x\n--- a/x\n",
        b"a\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk\nl\nm\nn\no\n",
        b"a\nb\nc\nd\ne\nf\ng\nH\ni\nj\nk\nl\nm\nn\no\n",
    ];
    let file = (select(contents.to_vec()), select(vec![0o644, 0o755, 0o600, 0o640]))
        .prop_map(|(content, mode)| Kind::File { content: content.to_vec(), mode });
    prop_oneof![5 => file, 1 => select(vec!["b", "../up", "d"]).prop_map(|target| Kind::Symlink { target })]
}

/// Files of which none is in the place of another one's directory.
fn tree() -> impl Strategy<Value = Tree> {
    btree_map(select(PATHS), kind(), 1..9).prop_map(|mut tree| {
        let paths: Vec<&str> = tree.keys().copied().collect();
        tree.retain(|path, _| !paths.iter().any(|other| path.starts_with(&format!("{other}/"))));
        tree
    })
}

fn lay_out(bench: &Bench, tree: &Tree) {
    for entry in fs::read_dir(bench.git.dir()).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            _ if entry.file_name() == ".git" => {}
            true => fs::remove_dir_all(entry.path()).unwrap(),
            false => fs::remove_file(entry.path()).unwrap(),
        }
    }
    for (path, kind) in tree {
        let path = bench.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match kind {
            Kind::Symlink { target } => symlink(target, path).unwrap(),
            Kind::File { content, mode } => {
                fs::write(&path, content).unwrap();
                fs::set_permissions(&path, Permissions::from_mode(*mode)).unwrap();
            }
        }
    }
}

/// The tree of all files, as the host's git reads them.
async fn read_back(bench: &Bench) -> Vec<u8> {
    bench.run(&["add", "-A", "-f"]).await;
    bench.run(&["write-tree"]).await
}

async fn lands(before: Tree, after: Tree, (attributes, autocrlf): (&str, &str)) {
    let bench = Bench::new().await;
    bench.run(&["config", "core.autocrlf", autocrlf]).await;
    fs::write(bench.path(".git/info/attributes"), attributes).unwrap();
    lay_out(&bench, &before);
    bench.commit().await;
    let index = fs::read(bench.path(".git/index")).unwrap();
    lay_out(&bench, &after);
    let wanted = read_back(&bench).await;
    let raw = bench.run(&["diff-index", "-z", "--raw", "--no-renames", "--cached", "HEAD"]).await;
    if raw.is_empty() {
        return;
    }
    let renames = if symlink_to_directory(&raw) { "--no-renames" } else { "--find-renames" };
    let args = ["diff-index", "-p", "--cached", "--binary", "--full-index", renames, "HEAD"];
    let patch = bench.dir.path().join("patch");
    fs::write(&patch, bench.run(&args).await).unwrap();
    lay_out(&bench, &before);
    fs::write(bench.path(".git/index"), index).unwrap();

    // A daemon that dies in the middle leaves nothing of it.
    let files = bench.files();
    let mut landing = bench.land(&patch).await.unwrap();
    landing.exchange.carry_out().unwrap();
    note(&landing.stage.journal, &Journal { exchange: landing.exchange.clone(), done: false }).unwrap();
    landing.stage.is_needed = true;
    drop(landing);
    recover(&bench.journals()).unwrap();
    assert_eq!(bench.files(), files, "undone");

    match bench.land(&patch).await.unwrap().carry_out().await {
        Err(error) => {
            assert!(matches!(error, WorkspaceError::Converted { .. }), "{error}");
            assert_eq!(bench.files(), files, "refused");
        }
        Ok(()) => {
            let landed = bench.files();
            assert_eq!(read_back(&bench).await, wanted);
            for (path, kind) in &before {
                let (Kind::File { mode, .. }, Some(Kind::File { mode: new, .. })) = (kind, after.get(path))
                else {
                    continue;
                };
                let is_program = |mode: u32| mode & 0o100 != 0;
                if is_program(*mode) == is_program(*new) {
                    assert_eq!(landed[*path].0 & 0o777, *mode, "{path}");
                }
            }
        }
    }
    assert_eq!(fs::read_dir(bench.journals()).unwrap().count(), 0);
}

#[test]
fn what_is_written_is_what_was_read() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut runner = TestRunner::new(Config { cases: 16, failure_persistence: None, ..Config::default() });
    let strategy = (tree(), tree(), select(SETTINGS));
    runner
        .run(&strategy, |(before, after, settings)| {
            runtime.block_on(lands(before, after, settings));
            Ok(())
        })
        .unwrap();
}
