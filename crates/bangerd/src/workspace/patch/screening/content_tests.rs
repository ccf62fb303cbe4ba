//! What added lines bring about.

use super::tree_tests::{added, rules, screened};
use super::{Rule, Severity};

/// The rules for a new file with this text.
fn rules_of(path: &str, text: &str) -> Vec<Rule> {
    rules(&screened(&added("100644", path, text), &[]))
}

#[test]
fn git_configuration_that_runs_programs() {
    for (path, text) in [
        (".gitconfig", "[core]\n\thooksPath = .githooks\n"),
        (".gitconfig", "[core] HOOKSPATH=x\n"),
        ("sub/team.gitconfig", "[alias]\n st = !rm\n"),
        ("gitconfig", "[include]\n path = /x\n"),
        (".gitconfig-work", "[filter \"x\"]\n clean = y\n"),
        (".gitconfig", "[core]\rfsmonitor = x\n"),
        ("config", "[core]\n\tpager = x\n"),
        ("repo/config", "[filter \"a]b\"] smudge = x\n"),
        ("config", "  sshCommand = x\n"),
    ] {
        assert!(rules_of(path, text).contains(&Rule::GitConfig), "{path}: {text}");
    }
    for (path, text) in [
        (".gitconfig", "[user]\n\tname = me\n"),
        ("config", "[server]\n\tpath = /x\n"),
        ("config", "pager = less\n"),
        ("src/gitconfig.rs", "let path = x;\n"),
        ("settings.ini", "[core]\n\tpager = x\n"),
    ] {
        assert_eq!(rules_of(path, text), [], "{path}: {text}");
    }
}

#[test]
fn settings_mentioned_anywhere() {
    for text in [
        "git config core.hooksPath .githooks\n",
        "x\ngit -c CORE.FSMONITOR=x status\n",
        "\"core.sshCommand\"",
    ] {
        assert_eq!(rules_of("setup.sh", text), [Rule::HooksPathMention], "{text}");
    }
    for text in ["core.autocrlf\n", "score.hooks\n", "hooksPath\n", "core.", ".hooksPath"] {
        assert_eq!(rules_of("setup.sh", text), [], "{text}");
    }
    // Any file may be what the user's configuration includes.
    for text in ["[core]\n\thooksPath = x\n", "[Core]  hookspath=x\n", "x\n fsMonitor=x\n", "sshCommand\t= x"]
    {
        assert_eq!(rules_of("cfg/team.cfg", text), [Rule::HooksPathMention], "{text}");
    }
    for text in ["const hooksPath = x\n", "hooksPath: x\n", "hooksPaths = x\n", "[core]\n", "= hooksPath"] {
        assert_eq!(rules_of("src/x.ts", text), [], "{text}");
    }
}

#[test]
fn attributes_that_run_programs() {
    for line in [
        "*.x filter=evil",
        "* diff=custom",
        "* text merge=mine",
        "\"a b\" eol=lf filter=x",
        "[attr]bin filter=x",
        "[attr]mine -text",
        "* FILTER=x",
        "*.x -filter",
        "*.x !filter",
        "*.x filter",
        "*.x crypt",
        "*.x -mine",
    ] {
        for path in [".gitattributes", "sub/.GitAttributes"] {
            assert_eq!(rules_of(path, &format!("* text\n{line}\n")), [Rule::GitAttributes], "{line}");
        }
    }
    for line in [
        "* text=auto",
        "*.rs diff=rust",
        "*.x -text -merge",
        "*.x merge=union",
        "# filter",
        "*.x linguist-generated",
    ] {
        assert_eq!(rules_of(".gitattributes", &format!("{line}\n")), [], "{line}");
    }
    for line in ["*.x -diff", "*.png binary", "* !diff"] {
        assert_eq!(rules_of(".gitattributes", &format!("{line}\n")), [Rule::HidesChanges], "{line}");
    }
    assert_eq!(rules_of("gitattributes", "* filter=x\n"), []);
}

#[test]
fn only_added_lines_count() {
    let patch = "diff --git a/.gitattributes b/.gitattributes\n\
        index 1111111111111111111111111111111111111111..2222222222222222222222222222222222222222 100644\n\
        --- a/.gitattributes\n+++ b/.gitattributes\n@@ -1,2 +1,2 @@\n * filter=old\n-* diff=older core.hooksPath\n+* text\n";
    assert_eq!(rules(&screened(patch.as_bytes(), &[])), []);
}

#[test]
fn what_cannot_be_seen_is_risky_where_it_is_obeyed() {
    let section = "literal 0\nHcmV?d00001\n\n";
    let binary = |mode: &str, path: &str| {
        format!(
            "diff --git a/{path} b/{path}\nnew file mode {mode}\n\
            index 0000000000000000000000000000000000000000..2222222222222222222222222222222222222222\n\
            GIT binary patch\n{section}{section}"
        )
    };
    for (mode, path) in
        [("100644", ".gitattributes"), ("100644", ".gitconfig"), ("100644", "config"), ("120000", "x")]
    {
        assert_eq!(rules(&screened(binary(mode, path).as_bytes(), &[])), [Rule::UnseenContent], "{path}");
    }
    assert_eq!(rules(&screened(binary("100644", "image").as_bytes(), &[])), []);
    assert_eq!(rules(&screened(&added("120000", ".gitconfig", "x"), &[])), [Rule::UnseenContent]);
    let long = format!("* {}filter=x\n", "a".repeat(100_000));
    assert_eq!(rules_of(".gitattributes", &long), [Rule::UnseenContent]);
    let moved =
        "diff --git a/x b/.gitattributes\nsimilarity index 100%\nrename from x\nrename to .gitattributes\n";
    assert_eq!(rules(&screened(moved.as_bytes(), &[("100644", "x")])), [Rule::UnseenContent]);
}

#[test]
fn symlinks_out_of_the_tree() {
    for (path, target, expected) in [
        ("link", "/etc/passwd", Rule::SymlinkEscapes),
        ("a/link", "../../x", Rule::SymlinkEscapes),
        ("link", ".git/hooks", Rule::SymlinkIntoGit),
    ] {
        let findings = screened(&added("120000", path, target), &[]);
        assert_eq!(rules(&findings), [expected], "{path} -> {target}");
        assert_eq!(findings[0].detail.as_ref().unwrap().as_bytes(), target.as_bytes());
    }
    assert_eq!(rules(&screened(&added("120000", "a/link", "../b"), &[])), []);
    // A target of two lines, or with a newline at its end, is none that anybody meant.
    for target in ["x\n", "x\ny", "\n", &"x".repeat(5000)] {
        assert_eq!(rules(&screened(&added("120000", "link", target), &[])), [Rule::UnseenContent]);
    }
}

#[test]
fn a_changed_symlink_is_seen_only_if_all_of_it_changes() {
    let patch = |hunk: &str| {
        format!(
            "diff --git a/l b/l\n\
            index 1111111111111111111111111111111111111111..2222222222222222222222222222222222222222 120000\n\
            --- a/l\n+++ b/l\n{hunk}"
        )
    };
    let end = "\\ No newline at end of file\n";
    let whole = patch(&format!("@@ -1 +1 @@\n-x\n{end}+../y\n{end}"));
    assert_eq!(rules(&screened(whole.as_bytes(), &[])), [Rule::SymlinkEscapes]);
    for hunk in [
        format!("@@ -1,2 +1,2 @@\n ..\n-x\n{end}+y\n{end}"),
        format!("@@ -3 +3 @@\n-x\n{end}+y\n{end}"),
        format!("@@ -1,2 +1 @@\n-x\n y\n{end}"),
    ] {
        assert_eq!(rules(&screened(patch(&hunk).as_bytes(), &[])), [Rule::UnseenContent], "{hunk}");
    }
}

#[test]
fn lifecycle_scripts() {
    for line in [
        r#"  "postinstall": "node x""#,
        r#""scripts":{"prepare":"x"}"#,
        r#""preinstall" :"#,
        r#""dependencies": "x""#,
    ] {
        assert_eq!(rules_of("sub/package.json", &format!("{line}\n")), [Rule::LifecycleScript], "{line}");
    }
    for line in [r#""test": "install""#, r#""dependencies": {"#, r#""x": ["install"]"#, r#""install"#] {
        assert_eq!(rules_of("package.json", &format!("{line}\n")), [], "{line}");
    }
    assert_eq!(rules_of("data.json", "\"postinstall\": \"x\"\n"), []);
}

#[test]
fn text_that_shows_in_another_order() {
    let findings = screened(&added("100644", "a.rs", "x\u{202e}y\n\u{2066}\n"), &[]);
    assert_eq!(rules(&findings), [Rule::BidiText]);
    assert_eq!(findings[0].severity(), Severity::Notice);
    assert_eq!(rules_of("a.rs", "x\u{2026}\u{200d}\u{2065}\u{2070}y\n"), []);
}
