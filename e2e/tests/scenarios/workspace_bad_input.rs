//! What cannot be prepared or exported is refused, in words.

use e2e::{Home, Repo};

#[test]
fn workspace_bad_requests_are_refused_and_change_nothing() {
    let home = Home::golden();
    home.banger("vm create --start --memory 512M --name x").ok();
    home.banger("vm create --name off").ok();
    let repo = Repo::new(&home, "repo");
    repo.write("f", "f\n").write("in/side", "x\n").commit("one");
    let outer = Repo::new(&home, "outer");
    outer.write("f", "f\n").commit("one");
    outer.git(&format!("-c protocol.file.allow=always submodule --quiet add {} sub", repo.dir().display()));
    outer.commit("sub");
    Repo::new(&home, "empty");
    Repo::init(&home, "bare", "--bare");
    home.program("/bin/sh").args(["-c", "mkdir plain 'odd name'; touch file"]).ok();
    home.sh("x", "mkdir /root/taken; touch /root/taken/f; touch /root/plain");
    for (words, code, says) in [
        ("vm workspace prepare x missing", 3, &["no directory", "/missing", "help: "][..]),
        ("vm workspace prepare x file", 3, &["no directory", "/file"]),
        ("vm workspace prepare x plain", 3, &["plain", "git repository", "help: ", "git init"]),
        ("vm workspace prepare x bare", 3, &["bare", "working tree", "help: "]),
        ("vm workspace prepare x repo/.git", 3, &["working tree"]),
        ("vm workspace prepare x outer", 4, &["submodules: sub", "--mode full"]),
        ("vm workspace prepare x repo --from HEAD", 2, &["--branch"]),
        ("vm workspace prepare x repo --branch b --from nothing", 3, &["no commit \"nothing\""]),
        ("vm workspace prepare x repo --branch b --from=--help", 3, &["no commit \"--help\""]),
        ("vm workspace prepare x repo --branch a..b", 2, &["\"a..b\"", "branch"]),
        ("vm workspace prepare x repo --branch=-b", 2, &["\"-b\"", "branch"]),
        ("vm workspace prepare x repo --branch @{-1}", 2, &["branch"]),
        ("vm workspace prepare x empty --mode metadata", 4, &["no commit yet", "help: "]),
        ("vm workspace prepare x repo --guest-path /root/taken", 4, &["/root/taken", "--guest-path"]),
        ("vm workspace prepare x repo --guest-path /root/plain", 4, &["/root/plain", "--guest-path"]),
        ("vm workspace prepare x repo --guest-path /", 2, &["--guest-path"]),
        ("vm workspace prepare x repo --guest-path /root/../etc", 2, &["/root/../etc"]),
        ("vm workspace prepare off repo", 4, &["not running", "help: "]),
        ("vm workspace prepare nobody repo", 3, &["nobody"]),
        ("vm workspace export x", 4, &["no workspace", "help: ", "prepare"]),
        ("vm workspace diff x", 4, &["no workspace"]),
        ("vm workspace export off", 4, &["not running"]),
        ("vm workspace export nobody", 3, &["nobody"]),
        ("vm workspace export x --max-size many", 2, &["many"]),
        ("run --rm plain -- true", 125, &["git repository"]),
        ("run --rm missing -- true", 125, &["no directory"]),
    ] {
        let refused = home.banger(words).fails_with(code);
        assert!(refused.out.is_empty(), "{refused}");
        assert!(refused.err.contains("error:") && !refused.err.contains("os error"), "{refused}");
        for word in says {
            refused.says(word);
        }
    }
    assert!(home.vm("x").workspace.is_none());
    assert_eq!(home.vms().len(), 2);
    assert_eq!(
        home.sh("x", "cd /root; ls -A taken; ls -d plain repo .banger-import* 2>/dev/null || true"),
        "f\nplain"
    );

    // A clone that has left content behind has no whole history to give.
    let source = Repo::new(&home, "source");
    source.git("config uploadpack.allowFilter true");
    source.write("g", "1\n").commit("one").write("g", "2\n").commit("two");
    source.sh("git -c protocol.file.allow=always clone -q --filter=blob:none \"file://$PWD\" ../partial");
    home.banger("vm workspace prepare x partial --mode full --guest-path /root/partial")
        .fails_with(4)
        .says("does not have the object")
        .says("git fetch --refetch");

    // One without a file that is copied leads to the root.
    repo.sh("mkdir -p nothing");
    home.banger("vm workspace prepare x repo/nothing --guest-path /root/elsewhere")
        .ok()
        .says("nothing in nothing");
    assert_eq!(home.banger("exec x -- pwd").ok().text(), "/root/elsewhere");

    // A path inside leads to the repository, and commands run where it leads.
    home.banger("vm workspace prepare x repo/in").ok();
    assert_eq!(home.banger("exec x -- pwd").ok().text(), "/root/repo/in");
    assert_eq!(home.sh("x", "cat side ../f"), "x\nf");
    for (words, code, says) in [
        ("vm workspace export x --base-commit nothing", 3, &["no commit \"nothing\""][..]),
        ("vm workspace export x --base-commit=--output=/root/x", 3, &["no commit"]),
        ("vm workspace export x -o no/such/directory", 1, &["no directory no/such", "help: "]),
        ("vm workspace export x -o plain", 1, &["plain is a directory"]),
    ] {
        home.sh("x", "echo more >> ../f");
        let refused = home.banger(words).fails_with(code);
        for word in says {
            refused.says(word);
        }
        assert!(!refused.err.contains("os error"), "{refused}");
    }

    // Without its git directory, or with another one, what was made is still known.
    for work in ["rm -rf ../.git", "git init -q .."] {
        home.sh("x", work);
        home.banger("vm workspace export x").ok().says("1 file changed");
        home.banger("vm workspace prepare x repo").fails_with(4).says("--discard");
    }
    home.sh("x", "cd / && rm -rf /root/repo");
    for words in ["vm workspace export x", "vm workspace prepare x repo"] {
        let refused = home.banger(words).fails_with(4);
        refused.says("workspace /root/repo is not there").says("--discard");
    }
    home.banger("vm workspace prepare x repo --discard").ok();
    home.banger("vm workspace export x").ok().says("no changes");

    // git takes the repository around the place for one that is gone. Nothing of that is the patch's.
    let inner = Repo::new(&home, "repo/inner");
    inner.write("f", "f\n").commit("one");
    home.banger("vm workspace prepare x repo/inner").ok();
    home.sh("x", "echo more >> f");
    inner.sh("rm -rf .git");
    let before = repo.fingerprint();
    for words in ["vm workspace export x --apply", "vm workspace export x --branch b"] {
        home.banger(words).fails_with(4).says("not there any more");
    }
    assert_eq!(repo.fingerprint(), before);
}

#[test]
fn workspace_changes_in_the_guest_are_not_lost_by_preparing_again() {
    let home = Home::golden();
    home.banger("vm create --start --memory 512M --name x").ok();
    let repo = Repo::new(&home, "repo");
    repo.write("f", "f\n").write(".gitignore", "*.o\n").commit("one");
    home.banger("vm workspace prepare x repo").ok();
    // What git ignores is nobody's work.
    home.sh("x", "echo made > x.o");
    home.banger("vm workspace prepare x repo").ok();
    for work in
        ["echo more >> f", "echo new > new", "rm f", "git -c user.name=g -c user.email=g@g commit -qam x"]
    {
        home.sh("x", work);
        let refused = home.banger("vm workspace prepare x repo").fails_with(4);
        refused.says("would be lost").says("help: ").says("--discard").says("export");
    }
    home.banger("vm workspace prepare x repo --discard").ok();
    assert_eq!(home.sh("x", "cat f; ls -A; git status --porcelain"), "f\n.git\n.gitignore\nf");

    // A stale workspace is told of, and prepared anew when asked for.
    let fresh = home.banger("exec x -- cat f").ok();
    assert_eq!(fresh.err, "");
    repo.write("f", "newer\n").commit("two");
    let stale = home.banger("exec x -- cat f").ok();
    assert_eq!(stale.text(), "f");
    stale.says("stale").says("--auto-prepare");
    let fresh = home.banger("exec x --auto-prepare -- cat f").ok();
    assert_eq!(fresh.text(), "newer");
    // It does not throw work away either.
    home.sh("x", "echo more >> f");
    repo.write("f", "newest\n").commit("three");
    home.banger("exec x --auto-prepare -- cat f").fails_with(125).says("would be lost");
    std::fs::remove_dir_all(repo.dir()).unwrap();
    home.banger("exec x -- cat f").ok();
    home.banger("vm workspace export x -o p").ok();
    home.banger("vm workspace export x --check").fails_with(4).says("-o");
}
