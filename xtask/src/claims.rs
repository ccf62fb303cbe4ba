//! docs/review.md says what is checked, each with its test: the tests are there.

use std::path::PathBuf;

use crate::sources::sources;

/// The names in the last column of the tables, and those that no function bears.
fn missing(page: &str, sources: &[(PathBuf, String)]) -> (usize, Vec<String>) {
    let rows = page
        .lines()
        .filter(|line| line.starts_with('|') && !line.contains("---") && !line.contains("| test |"));
    let cells = rows.filter_map(|row| row.trim_end_matches('|').rsplit('|').next());
    let names: Vec<&str> = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    let is_there = |name: &str| {
        let function = format!("fn {}()", name.rsplit("::").next().unwrap_or(name));
        sources.iter().any(|(_, text)| text.contains(&function))
    };
    let gone = names.iter().filter(|name| !is_there(name)).map(|name| (*name).to_owned()).collect();
    (names.len(), gone)
}

#[test]
fn each_claim_has_its_test() {
    let workspace = crate::workspace_dir();
    let page = std::fs::read_to_string(workspace.join("docs/review.md")).unwrap();
    let (count, gone) = missing(&page, &sources(&workspace));
    assert!(count > 10, "no claims were found");
    assert_eq!(gone, Vec::<String>::new());
}

#[test]
fn a_test_that_is_gone_is_found() {
    let sources = [(PathBuf::from("a.rs"), "async fn here() {".to_owned())];
    let page = "| claim | test |\n|---|---|\n| With `code`. | `a::here`, `b::gone` |\n";
    assert_eq!(missing(page, &sources), (2, vec!["b::gone".to_owned()]));
}
