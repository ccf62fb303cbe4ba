//! No failure is thrown away without a word: whoever does it says in a comment why nobody needs to know.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::sources::sources;

/// What throws a `Result` away, as far as a line's text can tell: a value that is bound to a name that nobody
/// uses, an error that is turned into nothing, one that is dropped, and a look that failed and is taken for
/// one that found nothing.
fn swallows(code: &str) -> bool {
    let statement = code.trim_start();
    if let Some(binding) = statement.strip_prefix("let _") {
        let Some((name, value)) = binding.split_once('=') else { return false };
        // A type says what is meant; a guard that is held (`let _guard = lock()`) is used by its end.
        return name.trim().is_empty() || (!name.contains(':') && throws(value));
    }
    statement.ends_with(".ok();")
        && !statement.starts_with("let ")
        && !statement.starts_with("return ")
        && !statement.contains(" = ")
        || (statement.starts_with("drop(") && throws(statement))
        || takes_for_nothing(statement)
}

/// What could not be read is taken for what is not there: an empty text, no entry, no answer.
fn takes_for_nothing(statement: &str) -> bool {
    const READS: &[&str] =
        &["fs::read", "File::open(", "read_dir(", "metadata(", "read_link(", "store.", ".await", "find_by_"];
    const NOTHING: &[&str] = &[".unwrap_or_default()", ".into_iter().flatten()", ".ok()"];
    // A text, in the tests of this.
    let is_code = !statement.starts_with('"');
    is_code
        && READS.iter().any(|read| {
            let after = statement.split_once(read).map(|(_, after)| after);
            // With a `?` before it, the failure has been passed on already.
            let thrown = |nothing: &&str, after: &str| {
                after.split_once(*nothing).is_some_and(|(before, _)| !before.contains('?'))
            };
            after.is_some_and(|after| NOTHING.iter().any(|nothing| thrown(nothing, after)))
        })
}

/// Calls that do something and fail, by their names. A name with `_` before it that holds one of these is no
/// guard.
fn throws(value: &str) -> bool {
    const CALLS: &[&str] = &[
        "write",
        "send(",
        "try_send(",
        "remove_",
        "unlink",
        "kill",
        "flush(",
        "shutdown(",
        "set_",
        "sync_",
        "rename(",
        "unmount(",
        "symlink(",
        "create_dir",
        "wait()",
        "fcntl_",
        "setrlimit(",
        "try_io(",
        "seek(",
    ];
    CALLS.iter().any(|call| value.contains(call))
}

/// The code of a file that runs outside of tests, by line: (number, code, has a comment). Tests are the last
/// in a file.
fn lines(text: &str) -> Vec<(usize, &str, bool)> {
    let tests = ["mod ", "pub(crate) mod "].map(|start| format!("#[cfg(test)]\n{start}"));
    let end = tests.iter().filter_map(|start| text.find(start)).min().unwrap_or(text.len());
    text[..end]
        .lines()
        .enumerate()
        .map(|(index, line)| {
            let (code, comment) = line.split_once("//").unwrap_or((line, ""));
            (index + 1, code.trim_end(), !comment.is_empty())
        })
        .collect()
}

fn silences(sources: &[(PathBuf, String)]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in sources.iter().filter(|(path, _)| !is_test(path)) {
        let lines = lines(text);
        for (index, (number, code, commented)) in lines.iter().enumerate() {
            let above = index.checked_sub(1).and_then(|above| lines.get(above));
            let reason_above = above.is_some_and(|(_, code, commented)| *commented && code.trim().is_empty());
            if swallows(code) && !commented && !reason_above {
                let mut complaint = format!("{}:{number}: `{}`", path.display(), code.trim());
                // Text in memory takes everything.
                let _ =
                    write!(complaint, " throws a failure away: handle it, or say in a comment above why not");
                found.push(complaint);
            }
        }
    }
    found
}

/// Tests may throw away what they like.
fn is_test(path: &Path) -> bool {
    let named = |name: &str| path.iter().any(|part| part == name);
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    named("tests")
        || named("examples")
        || stem == "tests"
        || stem.ends_with("_tests")
        || stem.ends_with("_fixture")
        || stem == "fake"
        || path.starts_with("e2e")
}

#[test]
fn no_failure_is_thrown_away_without_a_reason() {
    let found = silences(&sources(&crate::workspace_dir()));
    assert!(found.is_empty(), "{} places swallow a failure:\n{}", found.len(), found.join("\n"));
}

#[test]
fn what_swallows_is_found_and_what_holds_is_not() {
    let silent = [
        "let _ = file.flush();",
        "let _ = anything;",
        "    let _sent = outbox.send(frame).await;",
        "let _removed = fs::remove_file(path);",
        "std::fs::remove_file(path).ok();",
        "drop(writer.write_all(b\"x\"));",
        "let text = std::fs::read_to_string(path).unwrap_or_default();",
        "for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {",
        "let rows = self.store.vms().ok()?;",
    ];
    let harmless = [
        "let _guard = lock.lock();",
        "let _: u32 = value;",
        "let modified = meta.modified().ok();",
        "let size = store.size(text.parse()?);",
        "let found = fs::read(path)?.unwrap_or_default();",
        "state.modified = meta.modified().ok();",
        "return text.parse().ok();",
        "drop(guard);",
        "let _ = file.flush(); // Nobody reads it.",
        "// Nobody reads it.\nlet _ = file.flush();",
        "#[cfg(test)]\nmod tests {\n    let _ = file.flush();",
    ];
    let file = |text: &str| [(PathBuf::from("crates/a/src/lib.rs"), text.to_owned())];
    for text in silent {
        assert_eq!(silences(&file(text)).len(), 1, "{text}");
        assert_eq!(silences(&file(&format!("// What is it?\nnext();\n{text}"))).len(), 1, "{text}");
    }
    for text in harmless {
        assert_eq!(silences(&file(text)), Vec::<String>::new(), "{text}");
    }
    let of_tests = [(PathBuf::from("crates/a/src/x_tests.rs"), silent[0].to_owned())];
    assert_eq!(silences(&of_tests), Vec::<String>::new());
}
