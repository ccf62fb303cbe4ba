//! The size of source files, and the names that say nothing.

use std::fs;
use std::path::{Path, PathBuf};

const MAX_LINES: usize = 400;

/// As rustfmt has it (rustfmt.toml), which leaves comments as they are.
const MAX_COLUMNS: usize = 110;

/// Files that may be longer, each with its reason. Empty is best.
const LONGER: &[(&str, &str)] = &[];

/// Rooms without a subject collect everything.
const SAYS_NOTHING: &[&str] = &["util", "utils", "common", "helper", "helpers", "misc", "legacy"];

/// Directories of the workspace that hold Rust sources.
const ROOTS: &[&str] = &["crates", "e2e", "bench", "xtask"];

/// Every `.rs` file of ours, as a path relative to the workspace, with its text.
pub(crate) fn sources(workspace: &Path) -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut todo: Vec<PathBuf> = ROOTS.iter().map(|root| workspace.join(root)).collect();
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if path.file_name().is_some_and(|name| name != "target") {
                    todo.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text =
                    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                found.push((path.strip_prefix(workspace).unwrap().to_owned(), text));
            }
        }
    }
    found.sort();
    found
}

fn complaints(sources: &[(PathBuf, String)], longer: &[(&str, &str)]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (path, text) in sources {
        let lines = text.lines().count();
        let listed = longer.iter().any(|(listed, _)| Path::new(listed) == path);
        if lines > MAX_LINES && !listed {
            complaints.push(format!("{}: {lines} lines, {MAX_LINES} at most", path.display()));
        }
        if lines <= MAX_LINES && listed {
            complaints.push(format!("{}: listed as longer, and is not any more", path.display()));
        }
        let too_wide =
            |line: &&str| line.trim_start().starts_with("//") && line.chars().count() > MAX_COLUMNS;
        // What has no blank to be broken at (an address) may stand, and so may a row of a table.
        let breakable = |line: &&str| line.trim_start().split(' ').count() > 2 && !line.contains(" |");
        for (number, _) in text.lines().enumerate().filter(|(_, line)| too_wide(line) && breakable(line)) {
            complaints.push(format!(
                "{}:{}: a comment of more than {MAX_COLUMNS} columns",
                path.display(),
                number + 1
            ));
        }
        let names = path.with_extension("");
        for name in names.iter().filter(|name| SAYS_NOTHING.iter().any(|nothing| name == nothing)) {
            complaints.push(format!("{}: `{}` says nothing", path.display(), name.display()));
        }
    }
    complaints
}

#[test]
fn sources_are_short_and_well_named() {
    let sources = sources(&crate::workspace_dir());
    assert!(sources.len() > 20, "the sources were not found: {sources:?}");
    assert_eq!(complaints(&sources, LONGER), Vec::<String>::new());
}

#[test]
fn long_files_and_empty_names_are_found() {
    let long = "//\n".repeat(MAX_LINES + 1);
    let sources = [
        (PathBuf::from("crates/a/src/net/util.rs"), String::new()),
        (PathBuf::from("crates/a/src/common/mod.rs"), String::new()),
        (PathBuf::from("crates/a/src/long.rs"), long.clone()),
        (PathBuf::from("crates/a/src/excused.rs"), long),
        (PathBuf::from("crates/a/src/utility.rs"), "//\n".repeat(MAX_LINES)),
        (PathBuf::from("crates/a/src/wide.rs"), format!("//\n/// {}", "word ".repeat(22))),
    ];
    let longer = [("crates/a/src/excused.rs", "a table"), ("crates/a/src/utility.rs", "was long once")];
    assert_eq!(
        complaints(&sources, &longer),
        [
            "crates/a/src/net/util.rs: `util` says nothing",
            "crates/a/src/common/mod.rs: `common` says nothing",
            "crates/a/src/long.rs: 401 lines, 400 at most",
            "crates/a/src/utility.rs: listed as longer, and is not any more",
            "crates/a/src/wide.rs:2: a comment of more than 110 columns",
        ]
    );
}

#[test]
fn the_walk_goes_into_every_directory_but_target() {
    let workspace = tempfile::tempdir().unwrap();
    for dir in ["crates/a/src/deep", "crates/a/target/debug", "e2e", "bench", "xtask"] {
        fs::create_dir_all(workspace.path().join(dir)).unwrap();
    }
    for file in ["crates/a/src/deep/x.rs", "crates/a/target/debug/y.rs", "e2e/notes.txt"] {
        fs::write(workspace.path().join(file), "text").unwrap();
    }
    assert_eq!(sources(workspace.path()), [(PathBuf::from("crates/a/src/deep/x.rs"), "text".to_owned())]);
}
