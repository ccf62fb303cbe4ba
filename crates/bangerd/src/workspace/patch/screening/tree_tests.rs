//! What files do to each other and to the tree, and how findings come out.

use super::{Finding, Obeyed, Rule, Screening, Severity, TreeEntry};
use crate::workspace::patch::{FileMode, read};

/// A patch that adds one file.
pub(super) fn added(mode: &str, path: &str, text: &str) -> Vec<u8> {
    let quoted = String::from_utf8(crate::workspace::patch::quoting::quote("b/", path.as_bytes())).unwrap();
    let old = quoted.replacen("b/", "a/", 1);
    let tab = if quoted.contains(' ') { "\t" } else { "" };
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let range = if lines.len() == 1 { "1".to_owned() } else { format!("1,{}", lines.len()) };
    let body: String = lines.iter().map(|line| format!("+{line}")).collect();
    let end = if text.ends_with('\n') { "" } else { "\n\\ No newline at end of file\n" };
    format!(
        "diff --git {old} {quoted}\nnew file mode {mode}\n\
        index 0000000000000000000000000000000000000000..2222222222222222222222222222222222222222\n\
        --- /dev/null\n+++ {quoted}{tab}\n@@ -0,0 +{range} @@\n{body}{end}"
    )
    .into_bytes()
}

fn deleted(mode: &str, path: &str) -> Vec<u8> {
    let empty = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391..0000000000000000000000000000000000000000";
    format!("diff --git a/{path} b/{path}\ndeleted file mode {mode}\nindex {empty}\n").into_bytes()
}

fn renamed(from: &str, to: &str) -> Vec<u8> {
    format!("diff --git a/{from} b/{to}\nsimilarity index 100%\nrename from {from}\nrename to {to}\n")
        .into_bytes()
}

/// The findings for a patch to a tree of these files (mode and path).
pub(super) fn screened(patch: &[u8], tree: &[(&str, &str)]) -> Vec<Finding> {
    let mut screening = Screening::new();
    let changes = read(patch, &mut screening).unwrap_or_else(|error| panic!("{error}"));
    let entry = |(mode, path): &(&str, &str)| TreeEntry {
        path: (*path).into(),
        mode: FileMode::parse(mode.as_bytes()).unwrap(),
    };
    screening.finish(&changes, tree.iter().map(entry), &Obeyed::default())
}

pub(super) fn rules(findings: &[Finding]) -> Vec<Rule> {
    findings.iter().map(|finding| finding.rule).collect()
}

fn rules_for(patch: &[Vec<u8>], tree: &[(&str, &str)]) -> Vec<Rule> {
    rules(&screened(&patch.concat(), tree))
}

#[test]
fn deleting_is_never_risky() {
    for path in [".envrc", ".gitattributes", ".github/workflows/ci.yml", "hooks/pre-commit"] {
        assert_eq!(rules_for(&[deleted("100755", path)], &[("100755", path)]), []);
    }
}

#[test]
fn modes_that_make_programs() {
    let to =
        |old: &str, new: &str| format!("diff --git a/x b/x\nold mode {old}\nnew mode {new}\n").into_bytes();
    assert_eq!(rules_for(&[to("100644", "100755")], &[]), [Rule::NewExecutableBit]);
    assert_eq!(rules_for(&[to("100755", "100644")], &[]), []);
    assert_eq!(rules_for(&[added("100755", "x", "a\n")], &[]), [Rule::NewExecutable]);
    let moved = "diff --git a/x b/y\nold mode 100644\nnew mode 100755\nsimilarity index 100%\nrename from x\nrename to y\n";
    assert_eq!(rules_for(&[moved.into()], &[("100644", "x")]), [Rule::NewExecutableBit]);
}

#[test]
fn submodules() {
    let commit = "2222222222222222222222222222222222222222";
    let text = format!("Subproject commit {commit}\n");
    assert_eq!(rules_for(&[added("160000", "sub", &text)], &[]), [Rule::Gitlink]);
    assert_eq!(rules_for(&[added("160000", ".vscode", &text)], &[]), [Rule::Gitlink, Rule::EditorTask]);
    assert_eq!(rules_for(&[renamed("a", "b")], &[("160000", "a")]), [Rule::Gitlink]);
}

#[test]
fn a_moved_symlink_points_elsewhere() {
    let link = [("120000", "a/link")];
    assert_eq!(rules_for(&[renamed("a/link", "link")], &link), [Rule::MovedSymlink]);
    assert_eq!(rules_for(&[renamed("a/link", "a/other")], &link), []);
    assert_eq!(rules_for(&[renamed("a/link", "a/.vscode")], &link), [Rule::EditorTask]);
    assert_eq!(rules_for(&[renamed("a/file", "file")], &[("100644", "a/file")]), []);
    // A tree without the file tells nothing of it.
    assert_eq!(rules_for(&[renamed("a/file", "file")], &[]), [Rule::MovedSymlink]);
}

#[test]
fn names_that_are_the_same_elsewhere() {
    let add = |path: &str| added("100644", path, "x\n");
    let collides = [
        (vec![add("a"), add("A")], vec![]),
        (vec![add("a"), add("A/x")], vec![]),
        (vec![add("A/x"), add("a")], vec![]),
        (vec![add("A")], vec!["a"]),
        (vec![add("A")], vec!["a/x", "z"]),
        (vec![add("A/x")], vec!["a"]),
        (vec![add("dir/\u{c4}")], vec!["Dir/\u{e4}"]),
        (vec![add("x.")], vec!["x"]),
        (vec![add("b/one/two/three")], vec!["B/One"]),
        (vec![renamed("q", "README.md")], vec!["q", "readme.md"]),
    ];
    for (patch, tree) in collides {
        let tree: Vec<_> = tree.into_iter().map(|path| ("100644", path)).collect();
        assert_eq!(rules_for(&patch, &tree), [Rule::Collision], "{tree:?}");
    }
    let passes = [
        (vec![add("a"), add("ab")], vec!["b", "a.c"]),
        (vec![add("A/x"), add("a/y")], vec!["A/z"]),
        (vec![add("Foo::Bar.3"), add("Foo::Baz.3")], vec!["Foo"]),
        (vec![deleted("100644", "a"), add("A")], vec!["a"]),
        (vec![renamed("a", "A")], vec!["a"]),
    ];
    for (patch, tree) in passes {
        let tree: Vec<_> = tree.into_iter().map(|path| ("100644", path)).collect();
        assert_eq!(rules_for(&patch, &tree), [], "{tree:?}");
    }
}

#[test]
fn a_directory_that_passes_for_a_repository() {
    let add = |path: &str| added("100644", path, "x\n");
    let whole = [add("d/HEAD"), add("d/objects/x"), add("d/refs/x")];
    assert_eq!(rules_for(&whole, &[]), [Rule::NestedRepository]);
    assert_eq!(rules_for(&[add("d/head"), add("d/commondir")], &[]), [Rule::NestedRepository]);
    let rest = [("100644", "d/objects/x"), ("100644", "d/refs/x")];
    assert_eq!(rules_for(&[add("d/HEAD")], &rest), [Rule::NestedRepository]);
    assert_eq!(rules_for(&[add("e/HEAD")], &rest), []);
    assert_eq!(rules_for(&[add("d/objects/y"), add("d/refs/y")], &rest), []);
}

#[test]
fn names_that_hide_what_they_are() {
    for path in ["a\u{202e}txt.exe", "x\x1b[2J", "new\nline", "\u{85}"] {
        assert!(rules_for(&[added("100644", path, "x\n")], &[]).contains(&Rule::HiddenName), "{path:?}");
    }
    for path in ["uml\u{e4}ut", "\u{1f468}\u{200d}\u{1f469}", "a b"] {
        assert_eq!(rules_for(&[added("100644", path, "x\n")], &[]), [], "{path:?}");
    }
}

#[test]
fn risky_findings_come_first_and_none_twice() {
    let text = "core.hooksPath\ncore.hooksPath \u{202e}\n\u{202e}\n";
    let patch =
        [added("100755", "b", text), added("100644", ".envrc", "x\n"), added("100644", "a", text)].concat();
    let findings = screened(&patch, &[]);
    let shown: Vec<_> = findings.iter().map(|finding| (finding.rule, finding.path.as_bytes())).collect();
    assert_eq!(
        shown,
        [
            (Rule::HooksPathMention, b"a".as_slice()),
            (Rule::HooksPathMention, b"b"),
            (Rule::ShellEnvironment, b".envrc"),
            (Rule::NewExecutable, b"b"),
            (Rule::BidiText, b"a"),
            (Rule::BidiText, b"b"),
        ]
    );
    assert_eq!(findings[2].severity(), Severity::Risky);
    assert_eq!(findings[2].reason(), "is run or obeyed by the shell when the directory is entered");
}
