//! What could act on the host by itself is flagged, and `--apply` is careful.

use std::fs;
use std::time::Duration;

use e2e::{Home, Repo, until};

#[test]
fn workspace_risky_changes_are_withheld_until_they_are_allowed() {
    let home = Home::golden();
    home.banger("vm create --start --memory 512M --name x").ok();
    let repo = Repo::new(&home, "repo");
    repo.write("f", "f\n").write("script.sh", "#!/bin/sh\n").write("Readme", "x\n").commit("one");
    let before = repo.fingerprint();
    let patch = home.root().join("out.patch");
    let every_way = ["-o out.patch", "", "--json -o out.patch", "--apply", "--check"];
    // What comes out is held back in one place, whatever it is: not each path needs each way.
    let mut ways = every_way.iter().cycle();
    for (work, path) in [
        ("mkdir .husky; echo evil > .husky/pre-commit", ".husky/pre-commit"),
        ("mkdir -p etc; printf '[core]\\n\\thooksPath = x\\n' > etc/.gitconfig", "etc/.gitconfig"),
        ("echo '* filter=evil' > .gitattributes", ".gitattributes"),
        ("echo evil > .envrc", ".envrc"),
        ("mkdir .vscode; echo {} > .vscode/tasks.json", ".vscode/tasks.json"),
        (
            "mkdir -p .idea/runConfigurations; echo x > .idea/runConfigurations/x.xml",
            ".idea/runConfigurations/x.xml",
        ),
        ("mkdir -p .github/workflows; echo x > .github/workflows/ci.yml", ".github/workflows/ci.yml"),
        ("ln -s ../../etc/passwd out", "out"),
        ("ln -s /etc/passwd absolute", "absolute"),
        ("echo x > README", "README"),
        ("chmod +x script.sh", "script.sh"),
        ("git mv f .envrc", ".envrc"),
    ] {
        home.banger("vm workspace prepare --discard x repo").ok();
        home.sh("x", work);
        for words in ways.by_ref().take(2) {
            let withheld = home.banger("vm workspace export x").args(words.split_whitespace()).fails_with(4);
            withheld.says("risky").says("--allow-risky");
            if words.contains("json") {
                assert!(withheld.text().contains(path), "{withheld}");
            } else {
                assert!(withheld.out.is_empty(), "{withheld}");
                let line = withheld.err.lines().find(|line| line.starts_with("risky:"));
                assert!(line.is_some_and(|line| line.contains(path)), "{withheld}");
            }
            assert!(!patch.exists(), "{withheld}");
        }
        assert_eq!(repo.fingerprint(), before, "{work}");
        home.banger("vm workspace export x --allow-risky -o out.patch").ok().says("risky");
        assert!(fs::metadata(&patch).unwrap().len() > 0);
        fs::remove_file(&patch).unwrap();
    }
    // Package scripts are worth a word, and no more.
    home.banger("vm workspace prepare --discard x repo").ok();
    home.sh("x", "echo 'fn main() {}' > build.rs; echo x > conftest.py; echo x > setup.py");
    let exported = home.banger("vm workspace export x -o out.patch").ok();
    for word in ["notice:", "build.rs", "conftest.py", "setup.py"] {
        exported.says(word);
    }
    // Looking at them is free.
    assert!(home.banger("vm workspace diff x").ok().text().contains("+fn main() {}"));
}

#[test]
fn workspace_apply_touches_nothing_but_what_the_patch_does() {
    let home = Home::golden();
    home.banger("vm create --start --memory 512M --name x").ok();
    let repo = Repo::new(&home, "repo");
    let lines: String = (0..100).map(|n| format!("line {n}\n")).collect();
    repo.write("f", &lines).write("g", "g\n").write("gone", "x\n").commit("one");
    repo.write("dirty", "dirty\n").write("g", "g\nstaged\n").git("add g dirty");
    home.banger("vm workspace prepare x repo").ok();
    home.sh(
        "x",
        "sed -i '1s/.*/changed/' f; rm gone; mkdir new; printf '\\0\\1' > new/file; echo more >> dirty",
    );

    let index = || fs::read(repo.path(".git/index")).unwrap();
    let (index_before, before) = (index(), repo.fingerprint());
    let check = home.banger("vm workspace export x --check").ok();
    assert!(check.out.is_empty(), "{check}");
    check.says("the patch applies").says("4 files changed");
    assert_eq!(repo.fingerprint(), before);

    // Far from what the patch changes, where git would not mind.
    repo.write("f", lines.replace("line 90", "my own")).write("untracked", "mine\n");
    let (dirty, mine) = (repo.fingerprint(), repo.tree());
    for words in ["--apply", "--check", "--apply --base-commit HEAD"] {
        let refused = home.banger("vm workspace export x").args(words.split_whitespace()).fails_with(4);
        refused.says("f").says("help: ");
        assert_eq!(repo.fingerprint(), dirty, "{refused}");
    }
    // What is in the way of a new file.
    repo.write("f", &lines).write("new", "in the way\n");
    home.banger("vm workspace export x --apply").fails_with(4).says("new");
    repo.remove("new");
    home.banger("vm workspace export x --apply").ok().says("applied");
    assert_eq!(index(), index_before);
    let changed = repo.tree();
    assert!(!changed.has("gone") && changed.has("new/file") && mine.has("gone"));
    assert!(fs::read_to_string(repo.path("f")).unwrap().starts_with("changed\nline 1\n"));
    assert_eq!(fs::read_to_string(repo.path("dirty")).unwrap(), "dirty\nmore\n");
    // Once is enough.
    home.banger("vm workspace export x --apply").fails_with(4);

    // A filter driver, as git-lfs is one: the guest has the file, and not what the driver makes of it for a
    // commit.
    let filtered = Repo::new(&home, "filtered");
    filtered.sh("git config filter.up.clean 'tr a-z A-Z'; git config filter.up.smudge 'tr A-Z a-z'");
    filtered.sh("git config filter.up.required true");
    filtered.write(".gitattributes", "*.f filter=up\n").write("x.f", "one\ntwo\n").commit("one");
    home.banger("vm workspace prepare x filtered --guest-path /root/filtered").ok();
    home.sh("x", "sed -i s/two/Three/ x.f; echo New > new.f");
    home.banger("vm workspace export x --apply").ok().says("applied");
    let now = ["x.f", "new.f"].map(|name| fs::read_to_string(filtered.path(name)).unwrap());
    assert_eq!(now, ["one\nThree\n", "New\n"]);
}

#[test]
fn workspace_patches_are_written_whole_or_not_at_all() {
    let home = Home::golden();
    home.banger("vm create --start --memory 512M --name x").ok();
    let repo = Repo::new(&home, "repo");
    repo.write("f", "f\n").commit("one");
    home.banger("vm workspace prepare x repo").ok();
    // No changes are an empty patch.
    let none = home.banger("vm workspace export x").ok();
    assert!(none.out.is_empty());
    none.says("no changes");
    home.banger("vm workspace export x -o empty.patch").ok();
    assert_eq!(fs::metadata(home.root().join("empty.patch")).unwrap().len(), 0);

    home.sh("x", "echo more >> f; printf '\\0\\1\\2' > binary");
    let out = home.banger("vm workspace export x").ok();
    fs::write(home.root().join("p"), "old").unwrap();
    home.banger("vm workspace export x -o p").ok().says("2 files changed");
    assert_eq!(fs::read(home.root().join("p")).unwrap(), out.out);
    // The same with a racy file: its size and time are what the index knows.
    home.sh(
        "x",
        "git config core.trustctime false; printf aaaa > racy; touch -d @1700000000 racy; git add racy
                  printf bbbb > racy; touch -d @1700000000 racy .git/index",
    );
    let racy = home.banger("vm workspace export x").ok().text();
    assert!(racy.contains("+bbbb"), "{racy}");
    // Nothing stays behind, not even of a daemon that was killed in the midst of it.
    let patches = home.state().join("patches");
    let left = || fs::read_dir(&patches).map_or(0, Iterator::count);
    assert_eq!(left(), 0);
    home.sh("x", "head -c 60M /dev/urandom > binary");
    let export = home.banger("vm workspace export x -o never.patch").start();
    until("there is something of a patch", Duration::from_secs(120), || left() > 0);
    home.kill_daemon();
    assert_ne!(export.finish(Duration::from_secs(20)).code, 0);
    assert_eq!(left(), 1);
    home.vms();
    assert_eq!(left(), 0);
    assert!(!home.root().join("never.patch").exists());
}

#[test]
fn workspace_what_the_hosts_git_runs_is_risky_whatever_its_name() {
    let home = Home::golden();
    let repo = Repo::new(&home, "repo");
    for name in
        ["dev/ci/pre-commit", "scripts/check.sh", "tools/clean", "watch", "cfg/tasks.json", "src/main.c"]
    {
        repo.write(name, "#!/bin/sh\ncat\n");
    }
    repo.link(".vscode", "cfg")
        .link("dev/ci/pre-push", "../../scripts/check.sh")
        .write(".gitignore", ".venv/\n")
        .commit("one");
    for setting in ["core.hooksPath dev/ci", "core.fsmonitor ./watch"] {
        repo.git(&format!("config {setting}"));
    }
    repo.git_with("config filter.x.clean", &["sh tools/clean %f".as_ref()]);
    home.banger("vm create --start --memory 512M --name x").ok();
    home.banger("vm workspace prepare x repo").ok();
    for name in ["dev/ci/pre-commit", "scripts/check.sh", "tools/clean", "watch", "cfg/tasks.json"] {
        home.sh("x", &format!("echo 'touch /tmp/owned' >> {name}"));
        for way in ["", "--apply", "--branch work"] {
            home.banger(&format!("vm workspace export x {way}"))
                .fails_with(4)
                .says(&format!("risky: {name}"));
        }
        home.sh("x", &format!("git checkout -q {name}"));
    }
    // Nobody would see it: git does not show what it ignores.
    home.sh("x", "mkdir -p .venv/bin && echo x > .venv/bin/python && git add -f .venv");
    home.banger("vm workspace export x").fails_with(4).says("risky: .venv/bin/python");
    home.sh("x", "git rm -rfq .venv && echo more >> src/main.c");
    // An attribute that shows all text as binary hides nothing.
    home.sh(
        "x",
        "echo '* -diff' > .gitattributes; mkdir -p .git/info; echo '* binary' > .git/info/attributes",
    );
    let shown = home.banger("vm workspace diff x").ok();
    assert!(shown.text().contains("+more"), "{shown}");
    let counted = home.banger("vm workspace diff x --stat").ok().text();
    assert_eq!(counted, "A .gitattributes  +1 -0\nM src/main.c  +1 -0\n2 files changed, +2 -0");
    // It goes with the VM, and that is said; unless it was exported.
    home.banger("vm workspace export x -o out.patch").ok();
    home.sh("x", "echo again >> src/main.c");
    home.banger("vm delete --force x").ok().says("not exported, and gone with it: 2 changed files");
}
