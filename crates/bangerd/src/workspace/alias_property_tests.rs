//! A path that something on the host reaches through symlinks has the findings of the name by which it is
//! reached.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;

use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};

use super::*;
use crate::workspace::Reviewer;
use crate::workspace::patch::Rule;

/// Directories with a file in each that something on the host obeys.
const OBEYED: &[(&str, &str)] = &[
    (".vscode", "settings.json"),
    (".husky", "pre-commit"),
    (".claude", "settings.json"),
    (".cursor", "mcp.json"),
    (".github/workflows", "ci.yml"),
    (".devcontainer", "devcontainer.json"),
    (".cargo", "config.toml"),
];

/// Where the links lead in the end.
const PLACES: &[&str] = &["cfg", "a/b/c", "with space", "\u{e9}"];

async fn rules(git: &Git, path: &str) -> BTreeSet<Rule> {
    let patch = git.dir().join(".git/patch");
    let (old, new) = ("0".repeat(40), "1".repeat(40));
    let name = if path.is_ascii() { path.to_owned() } else { path.replace('\u{e9}', "\\303\\251") };
    let quote =
        |side: &str| if path.is_ascii() { format!("{side}{name}") } else { format!("\"{side}{name}\"") };
    let tab = if path.contains(' ') { "\t" } else { "" };
    let (a, b) = (quote("a/"), quote("b/"));
    let text = format!(
        "diff --git {a} {b}\nnew file mode 100644\nindex {old}..{new}\n--- /dev/null\n+++ {b}{tab}\n@@ -0,0 +1 @@\n+x\n"
    );
    fs::write(&patch, text).unwrap();
    let reviewed = Reviewer::new(Some(git)).await.unwrap().review(&patch, &[]).await.unwrap();
    reviewed.findings.into_iter().map(|finding| finding.rule).collect()
}

/// The relative target of a link at `from`.
fn relative(from: &str, to: &str) -> String {
    "../".repeat(from.matches('/').count()) + to
}

async fn is_found(dir: &str, file: &str, place: &str, between: usize) {
    let home = tempfile::tempdir().unwrap();
    let repository = |name: &str| Git::new(home.path().join(name));
    let (plain, linked) = (repository("plain"), repository("linked"));
    for git in [&plain, &linked] {
        fs::create_dir(git.dir()).unwrap();
        git.command(["init", "-q"]).run().await.unwrap();
    }
    fs::create_dir_all(linked.dir().join(place)).unwrap();
    fs::write(linked.dir().join(place).join("there"), "").unwrap();
    let mut names: Vec<String> = (0..between).map(|number| format!("between/{number}")).collect();
    names.insert(0, dir.into());
    names.push(place.into());
    for pair in names.windows(2) {
        let link = linked.dir().join(&pair[0]);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(relative(&pair[0], &pair[1]), link).unwrap();
    }
    linked.command(["add", "-A"]).run().await.unwrap();
    let expected = rules(&plain, &format!("{dir}/{file}")).await;
    assert!(!expected.is_empty());
    let found = rules(&linked, &format!("{place}/{file}")).await;
    assert!(found.is_superset(&expected), "{found:?} is not {expected:?}");
}

#[test]
fn a_path_has_the_findings_of_every_name_that_leads_to_it() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut runner = TestRunner::new(Config { cases: 16, failure_persistence: None, ..Config::default() });
    runner
        .run(&(select(OBEYED), select(PLACES), 0..3_usize), |((dir, file), place, between)| {
            runtime.block_on(is_found(dir, file, place, between));
            Ok(())
        })
        .unwrap();
}
