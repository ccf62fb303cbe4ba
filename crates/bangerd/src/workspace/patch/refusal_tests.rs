//! What git would not print, and git apply might read otherwise than we do.

use super::{PatchError, read};

const OLD: &str = "1111111111111111111111111111111111111111";
const NEW: &str = "2222222222222222222222222222222222222222";
const ZERO: &str = "0000000000000000000000000000000000000000";
const EMPTY: &str = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391";

/// Fills in `OLD`, `NEW`, `ZERO` and `EMPTY`.
fn filled(text: &str) -> String {
    text.replace("OLD", OLD).replace("NEW", NEW).replace("ZERO", ZERO).replace("EMPTY", EMPTY)
}

fn modification(hunks: &str) -> String {
    filled(&format!("diff --git a/f b/f\nindex OLD..NEW 100644\n--- a/f\n+++ b/f\n{hunks}"))
}

fn refusal(text: &str) -> String {
    match read(text.as_bytes(), &mut ()) {
        Err(error) => error.to_string(),
        Ok(changes) => panic!("accepted {text:?} as {changes:?}"),
    }
}

#[test]
fn sound_ones_pass() {
    for text in [
        modification("@@ -1 +1 @@\n-a\n+b\n"),
        modification("@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+b\n\\ No newline at end of file\n"),
        modification("@@ -0,0 +1,2 @@ some function\n+a\n+b\n"),
        modification("@@ -1,2 +0,0 @@\n-a\n-b\n"),
        modification("@@ -1,2 +1,3 @@\n a\n+c\n b\n@@ -10,2 +11 @@\n a\n-b\n"),
        filled("diff --git a/f b/f\nnew file mode 100644\nindex ZERO..EMPTY\n"),
        filled("diff --git a/f b/f\nold mode 100644\nnew mode 100755\n"),
        filled("diff --git a/f b/g\nsimilarity index 100%\nrename from f\nrename to g\n"),
    ] {
        assert!(read(text.as_bytes(), &mut ()).is_ok(), "{text}: {}", refusal(&text));
    }
}

#[test]
fn headers_that_git_does_not_print_are_refused() {
    for text in [
        "\n",
        "hello\n",
        "From: me\n\ndiff --git a/f b/f\nold mode 100644\nnew mode 100755\n",
        "--- a/f\n+++ b/f\n@@ -1 +1 @@\n-a\n+b\n",
        "diff --git a/f b/f\n",
        "diff --git a/f b/f",
        "diff --git a/f b/g\nold mode 100644\nnew mode 100755\n",
        "diff --git f f\nold mode 100644\nnew mode 100755\n",
        "diff --git b/f a/f\nold mode 100644\nnew mode 100755\n",
        "diff --git a/f b/f \nold mode 100644\nnew mode 100755\n",
        "diff --git a/f b/f\r\nold mode 100644\r\nnew mode 100755\r\n",
        "diff --git \"a/f\" \"b/f\"\nold mode 100644\nnew mode 100755\n",
        "diff --git a/f\tg b/f\tg\nold mode 100644\nnew mode 100755\n",
        "diff --git a/f b/f\nold mode 100644\n",
        "diff --git a/f b/f\nnew mode 100755\nold mode 100644\n",
        "diff --git a/f b/f\nold mode 100644\nnew mode 100644\n",
        "diff --git a/f b/f\nold mode 100644\nnew mode 120000\n",
        "diff --git a/f b/f\nold mode 100644\nnew mode 104755\n",
        "diff --git a/f b/f\nold mode 100644\nnew mode 100755\nextra\n",
        "diff --git a/f b/f\nold mode 100644\nnew mode 100755\nnew mode 100755\n",
        "diff --git a/f b/f\nnew file mode 100664\nindex ZERO..EMPTY\n",
        "diff --git a/f b/f\nnew file mode 040000\nindex ZERO..EMPTY\n",
        "diff --git a/f b/f\nnew file mode 100644\n",
        "diff --git a/f b/f\nnew file mode 100644\nindex ZERO..NEW\n",
        "diff --git a/f b/f\nnew file mode 100644\nindex OLD..EMPTY\n",
        "diff --git a/f b/f\nnew file mode 100644\nindex 0000000..e69de29\n",
        "diff --git a/f b/f\nnew file mode 100644\nindex ZERO..EMPTY 100644\n",
        "diff --git a/f b/f\ndeleted file mode 100644\nindex OLD..ZERO\n",
        "diff --git a/f b/f\ndeleted file mode 100644\nindex EMPTY..NEW\n",
        "diff --git a/f b/f\nindex OLD..NEW 100644\n",
        "diff --git a/f b/f\nindex OLD..NEW 100644\nBinary files a/f and b/f differ\n",
        "diff --git a/f b/g\nsimilarity index 100%\ncopy from f\ncopy to g\n",
        "diff --git a/f b/g\nsimilarity index 90%\nrename from f\nrename to g\n",
        "diff --git a/f b/g\nsimilarity index 101%\nrename from f\nrename to g\n",
        "diff --git a/f b/g\nsimilarity index 100%\nrename from f\nrename to h\n",
        "diff --git a/f b/f\nsimilarity index 100%\nrename from f\nrename to f\n",
        "diff --git a/f b/g\nrename from f\nrename to g\n",
        "diff --git a/f b/g\nsimilarity index 100%\nrename old f\nrename new g\n",
        "diff --git a/f b/f\ndissimilarity index 90%\nindex OLD..NEW 100644\n",
        "diff --git a/f b/f\nold mode 100644\nnew mode 100755\n-- \n2.47.3\n",
    ] {
        refusal(&filled(text));
    }
}

#[test]
fn other_ids_are_refused() {
    let hunk = "--- a/f\n+++ b/f\n@@ -1 +1 @@\n-a\n+b\n";
    for index in [
        "OLD..NEW",
        "OLD..OLD 100644",
        "OLD...NEW 100644",
        "OLD..NEW 100600",
        "OLD..NEW 100644 ",
        "ZERO..NEW 100644",
        "OLD..ZERO 100644",
        "1111111..2222222 100644",
        "OLD..222222222222222222222222222222222222222A 100644",
        ".. 100644",
        "",
    ] {
        refusal(&filled(&format!("diff --git a/f b/f\nindex {index}\n{hunk}")));
    }
    let sha256 = format!("diff --git a/g b/g\nindex {}..{} 100644\n", "1".repeat(64), "2".repeat(64));
    let text = modification("@@ -1 +1 @@\n-a\n+b\n") + &sha256 + &hunk.replace("/f", "/g");
    assert!(refusal(&text).contains("ids of one length"));
}

#[test]
fn names_that_disagree_are_refused() {
    for names in [
        "--- a/g\n+++ b/f\n",
        "--- a/f\n+++ b/g\n",
        "--- /dev/null\n+++ b/f\n",
        "--- a/f\n+++ /dev/null\n",
        "--- a/f\t\n+++ b/f\n",
        "--- \"a/f\"\n+++ b/f\n",
        "+++ b/f\n",
        "",
    ] {
        let header = filled("diff --git a/f b/f\nindex OLD..NEW 100644\n");
        refusal(&format!("{header}{names}@@ -1 +1 @@\n-a\n+b\n"));
    }
}

#[test]
fn paths_out_of_the_tree_are_refused() {
    for (path, problem) in [
        ("/etc/passwd", "absolute"),
        ("../x", "`..`"),
        ("a/./b", "`.`"),
        ("a//b", "empty part"),
        ("a/", "empty part"),
        ("", "empty part"),
    ] {
        let text = format!("diff --git a/{path} b/{path}\nold mode 100644\nnew mode 100755\n");
        let refusal = refusal(&text);
        assert!(refusal.contains(problem) && refusal.starts_with("line 1 "), "{refusal}");
    }
    let nul = r#"diff --git "a/x\000" "b/x\000""#.to_owned() + "\nold mode 100644\nnew mode 100755\n";
    assert!(refusal(&nul).contains("zero byte"));
    let long = "x/".repeat(2048) + "x";
    assert!(
        refusal(&format!("diff --git a/{long} b/{long}\nold mode 100644\nnew mode 100755\n"))
            .contains("4096")
    );
    let from = "diff --git a/../x b/y\nsimilarity index 100%\nrename from ../x\nrename to y\n";
    assert!(refusal(from).contains("`..`"));
}

#[test]
fn hunks_that_do_not_add_up_are_refused() {
    for hunks in [
        "",
        "@@ -1 +1 @@\n-a\n",
        "@@ -1 +1 @@\n-a\n+b\n+c\n",
        "@@ -1,2 +1 @@\n-a\n+b\n",
        "@@ -1 +1,1 @@\n-a\n+b\n",
        "@@ -01 +1 @@\n-a\n+b\n",
        "@@ -1 +1 @@x\n-a\n+b\n",
        "@@ -1 +1\n-a\n+b\n",
        "@@ -1  +1 @@\n-a\n+b\n",
        "@@ -+1 +1 @@\n-a\n+b\n",
        "@@ -99999999999999999999 +1 @@\n-a\n+b\n",
        "@@ -0 +1 @@\n-a\n+b\n",
        "@@ -1 +2 @@\n-a\n+b\n",
        "@@ -0,0 +0,0 @@\n",
        "@@ -1 +1 @@\n a\n",
        "@@ -1,2 +1,2 @@\n-a\n+b\n\n",
        "@@ -1 +1 @@\n-a\n+b\n\\ no newline here\n",
        "@@ -1 +1 @@\n\\ No newline at end of file\n-a\n+b\n",
        "@@ -0,0 +1,2 @@\n+a\n\\ No newline at end of file\n+b\n",
        "@@ -1,2 +1,2 @@\n a\n\\ No newline at end of file\n-b\n+c\n",
        "@@ -1 +1 @@\n-a\n+b\n\\ No newline at end of file\n\\ No newline at end of file\n",
        "@@ -1 +1 @@\n-a\n+b\n\\ No newline at end of file\n@@ -9 +9 @@\n-a\n+b\n",
        "@@ -9 +9 @@\n-a\n+b\n@@ -1 +1 @@\n-a\n+b\n",
        "@@ -1 +1 @@\n-a\n+b\n@@ -2 +2 @@\n-a\n+b\n",
        "@@ -1 +1,2 @@\n-a\n+b\n+c\n@@ -9 +9 @@\n-a\n+b\n",
        "@@ -1 +1 @@\n-a\n+b\ntrailing\n",
        "@@ -1 +1 @@\n-a\n+b\n\n",
        "@@ -1 +1 @@\n-a\n+b\n--- a/g\n+++ b/g\n@@ -1 +1 @@\n-a\n+b\n",
        "@@ -1 +1 @@\n-a\n+b",
    ] {
        refusal(&modification(hunks));
    }
    let added = "diff --git a/f b/f\nnew file mode 100644\nindex ZERO..NEW\n--- /dev/null\n+++ b/f\n";
    refusal(&filled(&format!("{added}@@ -1 +1 @@\n-a\n+b\n")));
    refusal(&filled(&format!("{added}@@ -0,0 +1 @@\n+a\n@@ -0,0 +2 @@\n+b\n")));
}

#[test]
fn binary_sections_out_of_shape_are_refused() {
    let header = filled("diff --git a/f b/f\nindex OLD..NEW 100644\nGIT binary patch\n");
    let section = "literal 0\nHcmV?d00001\n\n";
    assert!(read(format!("{header}{section}{section}").as_bytes(), &mut ()).is_ok());
    for sections in [
        "",
        section,
        "literal 0\n\nliteral 0\n\n",
        "literal 00\nHcmV?d00001\n\nliteral 0\nHcmV?d00001\n\n",
        "literal\nHcmV?d00001\n\nliteral 0\nHcmV?d00001\n\n",
        "copy 0\nHcmV?d00001\n\nliteral 0\nHcmV?d00001\n\n",
        "literal 0\nHcmV?d00001\nHcmV?d00001\n\nliteral 0\nHcmV?d00001\n\n",
        "literal 0\nIcmV?d00001\n\nliteral 0\nHcmV?d00001\n\n",
        "literal 0\nHcmV?d0000\n\nliteral 0\nHcmV?d00001\n\n",
        "literal 0\nHcmV?d0000'\n\nliteral 0\nHcmV?d00001\n\n",
        "literal 0\nHcmV?d00002\n\nliteral 0\nHcmV?d00001\n\n",
        "literal 1\nHcmV?d00001\n\nliteral 0\nHcmV?d00001\n\n",
        "literal 99999999999999\nHcmV?d00001\n\nliteral 0\nHcmV?d00001\n\n",
        "literal 0\nD~~~~~\n\nliteral 0\nHcmV?d00001\n\n",
        "literal 0\nHcmV?d00001\n\nliteral 0\nHcmV?d00001\n",
        "literal 0\nHcmV?d00001\n\nliteral 0\nHcmV?d00001\n\n\n",
        "literal 0\nHcmV?d00001\n\nliteral 0\nHcmV?d00001\n\nliteral 0\nHcmV?d00001\n\n",
    ] {
        refusal(&format!("{header}{sections}"));
    }
}

#[test]
fn submodules_hold_their_commit_and_nothing_else() {
    let header = filled("diff --git a/m b/m\nindex OLD..NEW 160000\n--- a/m\n+++ b/m\n");
    let sound = filled("@@ -1 +1 @@\n-Subproject commit OLD\n+Subproject commit NEW\n");
    assert!(read(format!("{header}{sound}").as_bytes(), &mut ()).is_ok());
    for body in [
        "@@ -1 +1 @@\n-Subproject commit OLD\n+Subproject commit OLD\n",
        "@@ -1 +1 @@\n-Subproject commit OLD\n+Subproject commit NEW-dirty\n",
        "@@ -1 +1 @@\n-a\n+b\n",
        "@@ -1 +1,2 @@\n-Subproject commit OLD\n+Subproject commit NEW\n+x\n",
    ] {
        refusal(&format!("{header}{}", filled(body)));
    }
}

#[test]
fn a_file_comes_once() {
    let change = |name: &str| format!("diff --git a/{name} b/{name}\nold mode 100644\nnew mode 100755\n");
    let rename = |from: &str, to: &str| {
        format!("diff --git a/{from} b/{to}\nsimilarity index 100%\nrename from {from}\nrename to {to}\n")
    };
    let delete =
        |mode: &str| filled(&format!("diff --git a/f b/f\ndeleted file mode {mode}\nindex EMPTY..ZERO\n"));
    let add = |mode: &str| filled(&format!("diff --git a/f b/f\nnew file mode {mode}\nindex ZERO..EMPTY\n"));
    let twice = |text: String| {
        assert!(matches!(read(text.as_bytes(), &mut ()), Err(PatchError::Twice { .. })), "{text}");
    };
    twice(change("f") + &change("f"));
    twice(change("f") + &rename("f", "g"));
    twice(rename("f", "g") + &rename("f", "h"));
    twice(rename("f", "g") + &rename("h", "g"));
    twice(rename("f", "g") + &rename("g", "f"));
    twice(delete("100644") + &add("100755"));
    twice(add("100644") + &delete("120000"));
    twice(delete("120000") + &change("g") + &add("100644"));
    twice(delete("120000") + &add("100644") + &change("f"));
    assert!(read((delete("120000") + &add("100644")).as_bytes(), &mut ()).is_ok());
}

#[test]
fn a_refusal_names_line_expectation_and_what_was_found() {
    assert_eq!(
        refusal(&modification("@@ -1 +1 @@\n-a\nb\n")),
        "line 7 of the patch: expected another line of the hunk, as its header counts them, found \"b\""
    );
    assert_eq!(refusal("\x1b[31m\n"), "line 1 of the patch: expected `diff --git`, found \"\\x1b[31m\"");
}
