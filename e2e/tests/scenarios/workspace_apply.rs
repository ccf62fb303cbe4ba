//! A patch changes the host's files together, or none of them.

use std::time::Duration;

use e2e::{Home, Repo};

const FILES: [&str; 6] = ["a", "b/c", "gone/only", "private", "program", "long"];

/// A repository with work that is not committed, and a guest that has changed every file of it.
fn changed(home: &Home) -> Repo {
    let repo = Repo::new(home, "repo");
    for name in FILES {
        repo.write(name, format!("{name}\n"));
    }
    repo.commit("one");
    repo.write("a", "a\nmine\n").sh("chmod 600 private");
    home.banger("vm create --start --memory 512M --name x").ok();
    home.banger("vm workspace prepare x repo").ok();
    home.sh("x", "for f in a b/c private program; do echo more >> $f; done; chmod +x program; rm -r gone; git mv long longer; echo new > new");
    repo
}

#[test]
fn needs_root_workspace_apply_with_one_file_that_cannot_be_changed_changes_none() {
    let home = Home::golden();
    let repo = changed(&home);
    // A directory of a group's.
    repo.sh("chgrp 1234 b b/c && chmod g+s b");
    home.sh("x", "mkdir b/d; echo new | tee b/new > b/d/new");
    let before = repo.tree();
    for name in FILES {
        repo.sh(&format!("chattr +i {name}"));
        // Both find the same.
        let actions = if name == "gone/only" { &["--check", "--apply"][..] } else { &["--apply"] };
        for action in actions {
            let refused = home.banger("vm workspace export x --allow-risky").args([*action]).fails_with(4);
            refused.says("Operation not permitted");
        }
        repo.sh(&format!("chattr -i {name}"));
        assert_eq!(repo.tree(), before, "{name}");
    }
    home.banger("vm workspace export x --apply --allow-risky").ok().says("applied");
    assert_eq!(std::fs::read_to_string(repo.path("a")).unwrap(), "a\nmine\nmore\n");
    repo.sh("test $(stat -c %a private) = 600; test -x program; test ! -e gone; test -e longer");
    repo.sh("test \"$(stat -c %g b/c b/new b/d b/d/new | sort -u)\" = 1234; test $(stat -c %a b/d) = 2755");
}

#[test]
fn workspace_apply_is_undone_or_done_when_the_daemon_is_killed() {
    let home = Home::golden();
    let repo = changed(&home);
    let before = repo.tree();
    let started = std::time::Instant::now();
    home.banger("vm workspace export x --apply --allow-risky").ok();
    let took = started.elapsed();
    let after = repo.tree();
    for step in 0..3 {
        repo.sh("git checkout -q HEAD -- . && git clean -fdq && echo mine >> a && chmod 600 private");
        assert_eq!(repo.tree(), before);
        let export = home.banger("vm workspace export x --apply --allow-risky").start();
        // Its last part is on the host.
        std::thread::sleep(took.mul_f64(0.6 + 0.15 * f64::from(step)));
        home.kill_daemon();
        drop(export.finish(Duration::from_secs(30)));
        home.banger("vm list").ok();
        let now = repo.tree();
        assert!(now == before || now == after, "{now:#?}");
    }
}
