//! A guest that lies: what it says is a patch may be anything.

use std::path::Path;
use std::time::Duration;

use e2e::{Home, Repo};

/// What the guest's git really is, wherever the scenario moved it.
const REAL: &str = "/usr/bin/git.real";

/// The files below a directory.
fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let is_dir = entry.file_type().unwrap().is_dir();
        if is_dir { found.extend(files(&entry.path())) } else { found.push(entry.path()) }
    }
    found
}

/// Has the guest's git do `script` when it is asked for a patch, and be git otherwise.
fn lie(home: &Home, script: &str) {
    let body = format!(
        "#!/bin/sh\nfor word; do case $word in -p) lie=1;; esac; done\n\
         [ \"$lie\" ] || exec {REAL} \"$@\"\n{script}\n"
    );
    let install =
        format!("[ -e {REAL} ] || mv /usr/bin/git {REAL}; cat > /usr/bin/git; chmod 755 /usr/bin/git");
    home.banger("exec x").sh(&install).stdin(body).ok();
}

fn new_file(path: &str) -> String {
    format!(
        "printf 'diff --git a/{path} b/{path}\\nnew file mode 100755\\nindex {zeros}..{id}\\n--- /dev/null\\n+++ b/{path}\\n@@ -0,0 +1 @@\\n+evil\\n'",
        zeros = "0".repeat(40),
        id = "1".repeat(40)
    )
}

#[test]
fn workspace_a_lying_guest_writes_nothing_and_holds_nobody_up() {
    let home = Home::golden();
    home.banger("vm create --start --memory 512M --name x").ok();
    let repo = Repo::new(&home, "repo");
    repo.write("f", "f\n").commit("one");
    home.banger("vm workspace prepare x repo").ok();
    home.sh("x", "echo more >> /root/repo/f");
    let before = repo.fingerprint();
    let patch = home.root().join("out.patch");
    let tree_before = files(&home.root().join("config"));

    let lies = [
        (new_file("../../etc/x"), "--apply --allow-risky", &["not a patch"][..]),
        (new_file("/etc/x"), "--json --allow-risky", &["not a patch"]),
        (new_file(".git/hooks/post-checkout"), "", &["risky", ".git/hooks/post-checkout"]),
        (new_file("a/.GIT/config"), "--apply", &["risky", "a/.GIT/config"]),
        ("yes junk".into(), "--max-size 8", &["larger than 8 MiB", "--max-size"]),
        ("cat /dev/zero".into(), "--max-size 8", &["larger than 8 MiB"]),
        ("sleep 1111".into(), "--timeout 5", &["within 5 s", "--timeout"]),
        ("yes junk | while read l; do echo $l; sleep 0.3; done".into(), "--timeout 5", &["within 5 s"]),
        ("trap '' INT TERM HUP PIPE; while :; do sleep 1; done".into(), "--timeout 5", &["within 5 s"]),
        ("head -c 300000 /dev/urandom; head -c 300000 /dev/urandom >&2; exit 1".into(), "", &["exit code 1"]),
        ("printf '\\033[2J\\033]0;evil\\007' >&2; exit 1".into(), "", &["`git diff-tree", "exit code 1"]),
        ("echo hello".into(), "", &["not a patch"]),
    ];
    for (lie_script, words, says) in lies {
        lie(&home, &lie_script);
        let run = home.banger("vm workspace export x -o out.patch").args(words.split_whitespace());
        let run = run.output();
        assert!(run.code == 1 || run.code == 4, "{lie_script}: {run}");
        assert!(run.out.is_empty() && !run.err.contains('\u{1b}'), "{lie_script}: {run}");
        assert!(run.took < Duration::from_secs(60), "{lie_script}: {run}");
        for words in says {
            run.says(words);
        }
        assert!(run.err.len() < 8000, "{lie_script}: {run}");
        assert!(!patch.exists(), "{lie_script}: {run}");
        assert_eq!(repo.fingerprint(), before, "{lie_script}");
        assert_eq!(files(&home.state().join("patches")), Vec::<std::path::PathBuf>::new());
    }
    assert_eq!(files(&home.root().join("config")), tree_before);
    assert!(!home.root().join("etc").exists());

    // What was allowed is handed out, but git itself will not write there.
    lie(&home, &new_file(".git/hooks/post-checkout"));
    home.banger("vm workspace export x --allow-risky --apply").fails_with(4).says("not applied");
    assert_eq!(repo.fingerprint(), before);

    // Nothing at all goes through either, before there is a patch to speak of.
    home.banger("exec x")
        .sh("cat > /usr/bin/git; chmod 755 /usr/bin/git")
        .stdin("#!/bin/sh\nsleep 1111\n")
        .ok();
    home.banger("vm workspace export x --timeout 3").fails_with(1).says("within 3 s");
    home.banger("exec x").sh("cat > /usr/bin/git").stdin("#!/bin/sh\ncat /dev/zero\n").ok();
    home.banger("vm workspace export x --timeout 60").fails_with(1).says("more than 64 MiB");
    home.banger("exec x").sh("cat > /usr/bin/git").stdin("#!/bin/sh\nexit 0\n").ok();
    home.banger("vm workspace export x").fails_with(1);
    home.banger("exec x").sh("rm /usr/bin/git").ok();
    home.banger("vm workspace export x").fails_with(1).says("git");
    // The truth still comes through afterwards.
    home.sh("x", &format!("mv {REAL} /usr/bin/git"));
    home.banger("vm workspace export x -o out.patch").ok();
    repo.apply(&patch);
    assert_eq!(std::fs::read_to_string(repo.path("f")).unwrap(), "f\nmore\n");
    // Its root can stop the agent: then nobody answers.
    lie(&home, "kill -9 $PPID");
    let dead = home.banger("vm workspace export x --timeout 5").fails_with(1);
    assert!(dead.took < Duration::from_secs(60), "{dead}");
}
