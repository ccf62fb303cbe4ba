//! What the guest's work is does not depend on what the guest's git is set to.

use std::hash::BuildHasher as _;

use e2e::{Home, Repo};

/// Settings, flags and other things of the guest's git that decide what git says, and must not decide what
/// the work is. Those in one group do not undo each other.
const SETTINGS: [&[(&str, &str)]; 7] = [
    &[("nothing", "true")],
    &[
        ("assumed to be unchanged", "git update-index --assume-unchanged f gone kept"),
        ("a filter", "git config filter.x.clean 'tr a-z A-Z'; echo '* filter=x' > .git/info/attributes"),
        ("bare", "git config core.bare true"),
    ],
    &[
        ("skipped", "git update-index --skip-worktree f gone kept"),
        ("a filter that fails", "git config filter.x.clean false; git config filter.x.required true"),
        ("it is for all files", "echo '* filter=x' > .git/info/attributes"),
        ("somebody else's", "chown -R 1234:1234 ."),
        ("touched", "touch *"),
    ],
    &[
        (
            "no look at the files",
            "git config core.ignoreStat true; git update-index --really-refresh; touch f",
        ),
        ("all is binary", "echo '* binary -diff' > .git/info/attributes"),
        (
            "line ends",
            "git config core.autocrlf true; git config core.safecrlf true; git config core.eol crlf",
        ),
    ],
    &[
        (
            "replaced objects",
            "git replace -f HEAD:f HEAD:kept; git replace -f HEAD^{tree} $(git mktree < /dev/null)",
        ),
        ("another encoding", "echo '* working-tree-encoding=UTF-16' > .git/info/attributes"),
        (
            "a monitor",
            "printf '#!/bin/sh\\ntouch /ran\\nexit 1\\n' > .git/hook; chmod 755 .git/hook; git config core.fsmonitor $PWD/.git/hook",
        ),
        ("a hook", "mkdir -p .git/hooks; cp .git/hook .git/hooks/post-index-change"),
    ],
    &[
        ("a split index", "git update-index --split-index"),
        ("exclusions", "echo new > .git/info/exclude"),
        ("files of the user's", "echo '* binary' > /root/attributes; echo new > /root/excludes"),
        (
            "settings of the user's",
            "printf '[core]\\n\\tautocrlf = true\\n\\tattributesFile = /root/attributes\\n\\texcludesFile = /root/excludes\\n[diff]\\n\\tnoprefix = true\\n\\texternal = false\\n\\tignoreSubmodules = all\\n' >> /root/.gitconfig",
        ),
    ],
    &[
        ("no index, no branch", "rm .git/index; rm .git/refs/heads/*"),
        ("a broken configuration", "echo '[' >> .git/config"),
    ],
];

/// Some of them all, others each time; one that keeps git from being asked comes last.
fn drawn() -> Vec<(&'static str, &'static str)> {
    let all: Vec<_> = SETTINGS.iter().flat_map(|group| group.iter().copied()).collect();
    let is_drawn = |_: &_| std::hash::RandomState::new().hash_one(()).is_multiple_of(3);
    all.into_iter().filter(is_drawn).collect()
}

#[test]
fn workspace_settings_of_the_guests_git_decide_nothing() {
    let home = Home::golden();
    home.banger("vm create --start --memory 512M --name x").ok();
    let repo = Repo::new(&home, "repo");
    repo.write("f", "one\ntwo\n").write("gone", "gone\n").write("kept", "kept\r\n");
    // Committed before there was an attribute for it: git would convert it as soon as it is touched.
    repo.write("run.bat", "echo\r\n")
        .commit("one")
        .write(".gitattributes", "*.bat text eol=crlf\n")
        .commit("two");
    // The host's own work must come to no harm.
    repo.write("f", "one\ntwo\nmine\n").write("added", "staged\n").git("add added");
    let mut expected = None;
    let groups = SETTINGS.iter().map(|group| group.to_vec()).chain([drawn()]);
    for group in groups {
        let (what, settings): (Vec<&str>, Vec<&str>) = group.into_iter().unzip();
        let (what, settings) = (what.join(", "), settings.join("\n") + "\nrm -f /ran");
        home.sh("x", "rm -f /root/.gitconfig /root/attributes /root/excludes");
        home.banger("vm workspace prepare --discard x repo").ok();
        home.banger("exec x").sh(&settings).ok();
        let none = home.banger("vm workspace export x").ok();
        assert!(none.out.is_empty(), "{what}: {none}");
        home.sh("x", "sed -i s/two/TWO/ f; rm gone; echo new > new; printf 'kept\\nmore\\n' > kept");
        let refused = home.banger("vm workspace prepare x repo").fails_with(4);
        refused.says("would be lost: f, gone, kept and 1 more");
        let patch = home.banger("vm workspace export x").ok().text();
        assert!(patch.contains("+TWO"), "{what}: {patch}");
        assert_eq!(&patch, expected.get_or_insert(patch.clone()), "{what}");
        assert_eq!(home.sh("x", "ls /ran 2>/dev/null || true"), "", "{what}");
    }
    home.banger("vm workspace export x --apply").ok().says("applied");
    assert_eq!(std::fs::read_to_string(repo.path("f")).unwrap(), "one\nTWO\nmine\n");
}

#[test]
fn workspace_what_git_keeps_silent_about_is_named_or_comes_along() {
    let home = Home::golden();
    home.banger("vm create --start --memory 512M --name x").ok();
    let sub = Repo::new(&home, "sub");
    sub.write("s", "s\n").commit("one");
    let repo = Repo::new(&home, "repo");
    repo.write("f", "f\n").write(".gitignore", "*.log\n").write("lib/a", "a\n").commit("one");
    repo.git(&format!("-c protocol.file.allow=always submodule --quiet add {} never", sub.dir().display()));
    repo.sh("git commit -qm two; git submodule --quiet deinit -f never; printf 'a \\r\\nb\\n' > mixed");
    repo.sh("git config core.autocrlf input; git add mixed 2>&1; git config core.safecrlf true");
    repo.git("config apply.whitespace error");
    home.banger("vm workspace prepare x repo --mode full").ok();
    home.sh("x", "echo forced > forced.log; git add -f forced.log; printf 'trailing \\t\\n' > spaces");
    home.sh("x", "git init -q inner; cd inner; git config user.name x; git config user.email x@y; echo i > i; git add i; git commit -qm i; cd ..; git add inner; echo in > never/file");
    home.sh("x", "mkfifo pipe; rm f; mkfifo f; mkdir d; touch d/.GIT; git init -q lib");
    let without = home.banger("vm workspace export x --allow-risky").ok();
    without
        .says("no such file or name, and it is not part of the patch: d/.GIT, f")
        .says("lib/.git is a repository");
    home.sh("x", "rm -r pipe f d lib/.git; git checkout -q f");
    // Who looks at `git status` on the host would not see it.
    home.banger("vm workspace export x").fails_with(4).says("risky: forced.log is ignored");
    let export = home.banger("vm workspace export x --allow-risky").ok();
    for named in ["inner", "never"] {
        export.says(named);
    }
    let patch = export.text();
    assert!(patch.contains("+forced") && patch.contains("spaces") && !patch.contains("inner"), "{patch}");
    home.banger("vm workspace export x --apply --allow-risky").ok().says("applied");
    assert_eq!(std::fs::read_to_string(repo.path("forced.log")).unwrap(), "forced\n");
    // A file that is cut while git reads it ends git, and leaves its lock; it is asked again.
    home.sh(
        "x",
        "head -c 60M /dev/zero > shrinking; setsid sh -c 'lock=../.banger-repo/0/scratch/index.lock; \
         until [ -e $lock ] && sleep 0.3 && [ -e $lock ]; do sleep 0.05; done; : > shrinking' > /dev/null 2>&1 &",
    );
    assert!(home.banger("vm workspace export x --allow-risky").ok().text().contains("shrinking"));
    let log = home.banger("daemon logs").ok().text();
    assert!(log.contains("code=135"), "{log}");
}

#[test]
fn workspace_preparing_again_throws_away_nothing_that_only_the_guest_has() {
    let home = Home::golden();
    home.banger("vm create --start --memory 512M --name x").ok();
    let repo = Repo::new(&home, "repo");
    repo.write("f", "f\n").write("lib/a", "a\n").commit("one").git("branch other");
    home.banger("vm workspace prepare x repo").ok();
    // What was sent, by another name, is no loss.
    home.sh("x", "git branch also; git tag here");
    home.banger("vm workspace prepare x repo").ok();
    let commit = "git -c user.name=g -c user.email=g@g commit -q --allow-empty -m x";
    for (work, undo, named) in [
        (
            format!("git checkout -qb side; {commit}; git checkout -q -"),
            "git branch -qD side",
            "the branch side",
        ),
        (format!("{commit}; git tag mine; git reset -q HEAD~1"), "git tag -d mine >&2", "the tag mine"),
        ("echo x >> f; git -c user.name=g -c user.email=g@g stash -q".into(), "git stash drop -q", "a stash"),
        (
            "git worktree add -q --detach ../tree 2>&1".into(),
            "git worktree remove --force ../tree",
            "the worktree",
        ),
        (format!("git checkout -q --detach; {commit}"), "git checkout -q -", "a detached HEAD"),
        ("git init -q inner; touch inner/file".into(), "rm -rf inner", "the repository inner"),
        // git looks for no repository where it knows files.
        ("git init -q lib".into(), "rm -rf lib/.git", "the repository lib/.git"),
        ("rm f; git init -q f".into(), "rm -rf f; git checkout -q f", "f, the repository f"),
        ("rm f; mkfifo f".into(), "rm f; git checkout -q f", "lost: f"),
        ("mkdir d; touch d/.GIT".into(), "rm -r d", "d/.GIT"),
        (format!("{commit}; {commit}"), "git reset -q --hard HEAD~2", "the branch"),
    ] {
        home.sh("x", &work);
        let refused = home.banger("vm workspace prepare x repo").fails_with(4);
        refused.says("would be lost").says(named).says("--discard");
        home.sh("x", undo);
        home.banger("vm workspace prepare x repo").ok();
    }
}
