//! A VM's work becomes a branch: objects and one ref, and nothing else of the host's.

use e2e::{Home, Repo};

/// What git keeps besides objects and the refs of branches, and all files.
fn untouched(repo: &Repo) -> String {
    let mut text = String::new();
    for name in [".git/index", ".git/config", ".git/HEAD", ".git/logs/HEAD"] {
        text += &format!("{name} {:?}\n", std::fs::read(repo.path(name)).unwrap());
    }
    text + &repo.git("status --porcelain") + &repo.git("for-each-ref refs/heads/main refs/tags refs/remotes")
}

fn with_hooks_that_fail(repo: &Repo) {
    for hook in ["reference-transaction", "post-commit", "pre-commit", "update", "post-update"] {
        repo.write_executable(&format!(".git/hooks/{hook}"), "#!/bin/sh\ntouch \"$HOME/hook-ran\"\nexit 1\n");
    }
    repo.git("config commit.gpgsign true");
    repo.git("config gpg.program /bin/false");
    repo.git("config user.name Ada");
    repo.git("config user.email ada@example.org");
}

#[test]
fn workspace_branch_has_what_was_sent_and_what_was_made() {
    let home = Home::golden();
    let repo = Repo::new(&home, "repo");
    repo.write("a", "a\n").write("b", "b\n").write(".gitignore", "out\n").commit("one");
    repo.write("a", "a\nmine\n").write("loose", "not tracked\n");
    with_hooks_that_fail(&repo);
    home.banger("vm create --start --memory 512M --name x").ok();
    home.banger("vm workspace prepare x repo --include-untracked").ok();
    // No work, no branch.
    home.banger("vm workspace export x --branch none").ok().says("no changes");
    repo.try_git("rev-parse --verify -q refs/heads/none", &[]).unwrap_err();

    home.sh("x", "echo more >> a; rm b; mkdir out; echo built > out/x; mkdir new; echo new > new/f");
    let before = untouched(&repo);
    home.banger("vm workspace export x --branch vm/work -m")
        .args(["What the agent did"])
        .ok()
        .says("2 new commits");
    assert_eq!(untouched(&repo), before);
    assert_eq!(
        repo.git("log --format=%an/%s main..vm/work"),
        "Ada/What the agent did\nAda/Not committed when it was sent to the VM x"
    );
    assert_eq!(repo.git("diff --name-status vm/work~1 vm/work"), "M\ta\nD\tb\nA\tnew/f");
    assert_eq!(repo.git("diff --name-status main vm/work~1"), "M\ta\nA\tloose");
    assert_eq!(repo.git("show vm/work:a"), "a\nmine\nmore");
    repo.git("fsck --strict --no-dangling");
    assert!(!home.root().join("hook-ran").exists());

    // The same name again, and one that cannot be.
    let objects = repo.git("count-objects -v");
    home.banger("vm workspace export x --branch vm/work").fails_with(4).says("--force");
    home.banger("vm workspace export x --branch vm/work/more").fails_with(4).says("cannot");
    home.banger("vm workspace export x --branch main --force").fails_with(4).says("checked out");
    home.banger("vm workspace export x --branch a..b").fails_with(2).says("a..b");
    home.banger("vm workspace export x --branch n -m").args([" "]).fails_with(2).says("message");
    assert_eq!(repo.git("count-objects -v"), objects);

    // The guest's own commits, and what it has not committed.
    home.sh(
        "x",
        "git add a && git -c user.name=Agent -c user.email=a@vm commit -qm 'a first step' && \
         git add -A && git -c user.name=Agent -c user.email=a@vm commit -qm 'a second step' && echo end >> new/f",
    );
    home.banger("vm workspace export x --branch steps --commits").ok().says("4 new commits");
    assert_eq!(
        repo.git("log --format=%an/%cn/%s main..steps"),
        "Ada/Ada/Work of the VM x\nAgent/Ada/a second step\nAgent/Ada/a first step\n\
         Ada/Ada/Not committed when it was sent to the VM x"
    );
    assert_eq!(repo.git("show steps:new/f"), "new\nend");
    assert_eq!(untouched(&repo), before);

    // What could run by itself is looked at first; in a commit that a later one takes back, too.
    home.sh(
        "x",
        "mkdir -p .vscode; echo '{\"tasks\": []}' > .vscode/tasks.json; git add -A; \
         git -c user.name=A -c user.email=a@vm commit -qm tasks; git rm -rq .vscode; \
         git -c user.name=A -c user.email=a@vm commit -qm gone",
    );
    let refused = home.banger("vm workspace export x --branch risky --commits").fails_with(4);
    refused.says("tasks.json").says("not made");
    home.banger("vm workspace export x --branch risky --commits --allow-risky").ok();
    home.banger("vm workspace export x --branch whole").ok();
    assert_eq!(untouched(&repo), before);
    repo.git("fsck --strict --no-dangling");
}

#[test]
fn workspace_branch_keeps_submodules_that_were_not_sent() {
    let home = Home::golden();
    let inner = Repo::new(&home, "inner");
    inner.write("f", "f\n").commit("one");
    let repo = Repo::init(&home, "repo", "--object-format=sha1");
    repo.write("a", "a\n").commit("one");
    repo.git("-c protocol.file.allow=always submodule --quiet add ../inner sub");
    repo.commit("two");
    with_hooks_that_fail(&repo);
    // Whom commits are by, and what is ignored, where only the user's own files say so.
    repo.git("config --unset user.email");
    let own = home.root().join("own");
    std::fs::write(&own, "[user]\n\temail = ada@work.example\n[core]\n\texcludesFile = ~/ignored\n").unwrap();
    std::fs::write(home.root().join("ignored"), "built/\n").unwrap();
    let config = format!("[includeIf \"gitdir:{}/\"]\n\tpath = own\n", repo.dir().display());
    std::fs::write(home.root().join(".gitconfig"), config).unwrap();
    repo.write(".git/info/exclude", "*.log\n");
    home.banger("vm create --start --memory 512M --name x").ok();

    // All of it.
    home.banger("vm workspace prepare x repo --mode full").ok();
    home.sh("x", "echo more >> a; mkdir built; echo x > built/x; echo x > x.log");
    assert_eq!(home.sh("x", "git config user.email; git status --porcelain"), "ada@work.example\n M a");
    home.banger("vm workspace export x --branch with").ok();
    assert_eq!(repo.git("log -1 --format=%ae with"), "ada@work.example");
    assert_eq!(repo.git("diff --name-status main with"), "M\ta");
    home.sh("x", "echo more >> sub/f");
    home.banger("vm workspace export x --branch changed").fails_with(4).says("sub").says("--apply");

    // An empty directory in its place.
    repo.git("submodule --quiet deinit --force sub");
    home.banger("vm workspace prepare x repo --mode full --discard").ok();
    home.sh("x", "echo more >> a");
    home.banger("vm workspace export x --branch without").ok();
    assert_eq!(repo.git("diff --name-status main without"), "M\ta");
    repo.git("fsck --strict --no-dangling");

    // A VM that does not run cannot be asked what it holds.
    home.banger("vm stop x").ok();
    home.banger("vm delete x").ok().says("nobody looked");
}
