//! What was not asked for never leaves the host.

use e2e::{Home, Repo, RoundTrip};

const SECRET: &str = "hunter2-hunter2";

#[test]
fn workspace_what_was_not_asked_for_stays_on_the_host() {
    let home = Home::golden();
    home.banger("vm create --start --memory 512M --name x").ok();
    let outside = home.root().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("a"), SECRET).unwrap();
    std::fs::write(outside.join("key"), SECRET).unwrap();

    let lender = Repo::new(&home, "lender");
    lender.write("lent", SECRET).commit("lent");
    let repo = Repo::new(&home, "repo");
    repo.write("old", SECRET).commit("history").remove("old");
    repo.write("f", "f\n").write(".gitignore", "*.key\n").write("led/a", "a\n").write("led/b", "b\n");
    repo.link("passwd", "/etc/passwd").link("up", "../outside/key").commit("now");
    // All around it, there are secrets.
    repo.git(&format!("remote add origin https://user:{SECRET}@example.org/repo"));
    repo.git(&format!("config http.extraHeader {SECRET}"));
    repo.git(&format!("config credential.helper {SECRET}"));
    repo.git(&format!("config url.https://{SECRET}@example.org/.insteadOf https://example.org/"));
    repo.write_executable(".git/hooks/post-checkout", &format!("#!/bin/sh\n# {SECRET}\n"));
    repo.write(".git/info/exclude", format!("# {SECRET}\n"));
    repo.write(".git/objects/info/alternates", format!("{}/.git/objects\n", lender.dir().display()));
    repo.write(".env", SECRET).write("ignored.key", SECRET).write("sub/untracked", SECRET);
    repo.git("branch other");
    repo.git("stash list");
    repo.write("f", format!("{SECRET}\n")).git("stash -q");
    // A tracked directory that now leads elsewhere: its files are deleted, and nothing of that place is.
    repo.remove("led").link("led", "../outside");

    let trip = RoundTrip::new(&home, "x", &repo, "repo");
    trip.prepare("").says("3 untracked files stay behind");
    let guest = trip.guest_tree();
    guest.assert_same(&repo.tracked(), "the guest's files and the tracked ones");
    for path in [".env", "ignored.key", "sub/untracked", "led", "led/a", "old"] {
        assert!(!guest.has(path), "{path} is in the guest");
    }
    assert_eq!(trip.sh("readlink passwd up"), "/etc/passwd\n../outside/key");
    // In no object either, compressed or not, and under no other name.
    assert_eq!(trip.sh(&format!("grep -ral {SECRET} . || true")), "");
    let all = "git cat-file --batch --batch-all-objects";
    assert_eq!(trip.sh(&format!("{all} | grep -ac {SECRET} || true")), "0");
    assert_eq!(
        trip.sh("git remote; git stash list; git branch --format='%(refname)'; ls .git/hooks 2>&1 || true")
            .lines()
            .next(),
        Some("refs/heads/main")
    );
    assert_eq!(trip.sh("git rev-list --all | wc -l"), "1");
    assert_eq!(trip.sh("git config --list --local | grep -v ^core || true"), "");
}

#[test]
fn workspace_untracked_files_go_along_when_asked_for() {
    let home = Home::golden();
    home.banger("vm create --start --memory 512M --name x").ok();
    let repo = Repo::new(&home, "repo");
    repo.write("f", "f\n").write(".gitignore", "*.key\n").commit("now");
    repo.write("new file", "new\n").write("dir/new", "new\n").write("my.key", SECRET);
    let inner = Repo::new(&home, "repo/inner");
    inner.write("secret", SECRET).commit("inner");

    let dry = home.banger("vm workspace prepare --include-untracked --dry-run x repo").ok();
    assert_eq!(dry.text(), ".gitignore\nf\ndir/new\nnew file", "{dry}");
    let dry = home.banger("vm workspace prepare --dry-run x repo").ok();
    assert_eq!(dry.text(), ".gitignore\nf", "{dry}");
    dry.says("2 untracked files would stay behind");
    assert!(home.vm("x").workspace.is_none());

    let trip = RoundTrip::new(&home, "x", &repo, "repo");
    trip.prepare("--include-untracked").says("inner is a repository of its own");
    assert_eq!(
        trip.sh("git ls-files --others; ls -A"),
        "dir/new\nnew file\n.git\n.gitignore\ndir\nf\nnew file"
    );
    // They are part of what the patch starts from.
    trip.sh("echo more >> 'new file'");
    let patch = trip.export("", "untracked.patch");
    repo.apply(&patch);
    assert_eq!(std::fs::read_to_string(repo.path("new file")).unwrap(), "new\nmore\n");
    let patch = trip.export("--base-commit HEAD", "head.patch");
    let text = std::fs::read_to_string(patch).unwrap();
    assert!(text.contains("b/dir/new") && text.contains("+more"), "{text}");
}

#[test]
fn workspace_modes_and_branches_are_as_asked_for() {
    let home = Home::golden();
    home.banger("vm create --start --memory 512M --name x").ok();
    let repo = Repo::new(&home, "repo");
    repo.write("f", "1\n").commit("one").write("f", "2\n").commit("two").write("f", "dirty\n");
    let trip = RoundTrip::new(&home, "x", &repo, "repo");

    trip.prepare("--mode metadata");
    assert_eq!(trip.sh("cat f; git status --porcelain; git branch --show-current"), "2\nmain");
    trip.prepare("--branch work/now");
    assert_eq!(trip.sh("cat f; git status --porcelain; git branch --show-current"), "dirty\n M f\nwork/now");
    trip.prepare("--branch work --from HEAD~1");
    assert_eq!(trip.sh("cat f; git status --porcelain; git branch --show-current"), "1\nwork");
    // What comes back belongs on that commit.
    trip.sh("echo guest > f");
    let patch = trip.export("", "from.patch");
    repo.git("checkout -q -f HEAD~1");
    repo.apply(&patch);
    assert_eq!(std::fs::read_to_string(repo.path("f")).unwrap(), "guest\n");

    let list = home.banger("vm list").ok();
    assert!(list.text().contains("repo@"), "{list}");
    // A stopped VM keeps it.
    home.banger("vm stop x").ok();
    home.banger("vm start x").ok();
    assert_eq!(home.banger("vm workspace export x --allow-risky").ok().out, std::fs::read(patch).unwrap());
}
