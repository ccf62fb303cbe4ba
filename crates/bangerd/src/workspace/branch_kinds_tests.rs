//! Branches of repositories of every kind, and what becomes of one that was cut off.

use super::*;
use crate::workspace::branch_pack::recover_branches;

#[tokio::test]
async fn a_branch_can_be_made_from_any_kind_of_checkout() {
    let bench = Bench::new("sha1").await;
    let base = bench.tree().await;
    bench.write("a", "a\n");
    let here = |name: &str| bench.dir.path().join(name).to_str().unwrap().to_owned();
    run(
        &bench.host,
        &["-c", "core.hooksPath=/dev/null", "worktree", "add", "-q", "--detach", &here("linked"), "main"],
    )
    .await;
    run(&Git::new(bench.dir.path()), &["clone", "-q", "--bare", &here("host"), "bare"]).await;
    let bare = Git::new(here("bare"));
    run(&bare, &["worktree", "add", "-q", "--detach", &here("of-bare"), "main"]).await;
    run(&bare, &["config", "user.name", "x"]).await;
    run(&bare, &["config", "user.email", "x@x"]).await;
    let from = format!("file://{}", here("host"));
    run(&Git::new(bench.dir.path()), &["clone", "-q", "--depth=1", "--no-tags", &from, "shallow"]).await;
    let shallow = Git::new(here("shallow"));
    run(&shallow, &["config", "user.name", "x"]).await;
    run(&shallow, &["config", "user.email", "x@x"]).await;
    run(&bench.guest, &["add", "-A"]).await;
    run(&bench.guest, &["commit", "-qm", "made"]).await;
    for name in ["linked", "of-bare", "shallow"] {
        let host = Git::new(here(name));
        let free = Free::look(&host, Wanted { commits: true, ..wanted("work") }).await.unwrap();
        let (objects, pack) = bench.send(base, true).await;
        let scratch = bench.dir.path().join("scratch");
        let start = Some(bench.start().await);
        let work = Work::take_in(&host, &scratch, &pack, objects, start, MANY).await.unwrap();
        let (tip, _) = work.commit(&free.wanted).await.unwrap();
        work.put(&free, tip, &bench.journals()).await.unwrap();
        run(&host, &["fsck", "--strict", "--no-dangling"]).await;
        assert_eq!(run(&host, &["show", "work:a"]).await, "a", "{name}");
    }
    bench.check_host().await;
}

#[tokio::test]
async fn the_patch_that_is_looked_at_is_what_the_branch_brings() {
    let bench = Bench::new("sha1").await;
    let base = bench.tree().await;
    bench.write(".git-blame", "x\n");
    bench.write(".envrc", "rm -rf /\n");
    bench.write("dir/file", "a\n");
    let (objects, pack) = bench.send(base, false).await;
    let work = bench.take_in(objects, &pack, MANY).await.unwrap();
    let patch = bench.dir.path().join("patch");
    work.patch(work.steps()[0], &patch, MANY).await.unwrap();
    let reviewer = Reviewer::new(Some(&bench.host)).await.unwrap();
    let reviewed = reviewer.review_own(&patch).await.unwrap();
    let paths: Vec<String> =
        reviewed.changes.iter().map(|change| change.path.as_os_str().display().to_string()).collect();
    assert_eq!(paths, [".envrc", ".git-blame", "dir/file"]);
    assert!(reviewed.is_risky());
    let refused = work.patch(work.steps()[0], &patch, 10).await.unwrap_err();
    assert!(matches!(refused, WorkspaceError::PatchTooLarge { .. }), "{refused}");
}

#[tokio::test]
async fn what_a_filter_driver_keeps_stays_as_committed() {
    let bench = Bench::new("sha1").await;
    // As git-lfs does: the commit has a pointer, the working tree the content.
    run(&bench.host, &["config", "filter.big.clean", "echo pointer"]).await;
    bench.write_host(".gitattributes", "*.big filter=big\n");
    bench.write_host("a.big", "content\n");
    run(&bench.host, &["-c", "core.hooksPath=/dev/null", "commit", "-q", "--no-gpg-sign", "-am", "x"]).await;
    run(&bench.host, &["-c", "core.hooksPath=/dev/null", "add", "-A"]).await;
    run(&bench.host, &["-c", "core.hooksPath=/dev/null", "commit", "-q", "--no-gpg-sign", "-m", "big"]).await;
    run(&bench.guest, &["pull", "-q"]).await;
    bench.write("a.big", "content\n");
    let base = bench.tree().await;
    bench.write("a", "a\n");
    assert_eq!(bench.export(base, wanted("work")).await.unwrap(), 1);
    assert_eq!(run(&bench.host, &["diff", "--name-status", "main", "work"]).await, "A\ta");
    assert_eq!(run(&bench.host, &["show", "work:a.big"]).await, "pointer");
    for name in ["a.big", "new.big"] {
        bench.write(name, "changed\n");
        let refused = bench.export(base, wanted("other")).await.unwrap_err();
        assert!(matches!(&refused, WorkspaceError::Filtered { paths } if paths == &[name]), "{refused}");
        run(&bench.guest, &["rm", "-qf", "--cached", name]).await;
        fs::remove_file(bench.guest.dir().join(name)).unwrap();
        bench.write("a.big", "content\n");
    }
    bench.check_host().await;
}

#[tokio::test]
async fn what_a_sparse_checkout_leaves_out_stays() {
    let bench = Bench::new("sha1").await;
    let whole = bench.tree().await;
    run(&bench.guest, &["rm", "-q", "--cached", "kept"]).await;
    fs::remove_file(bench.guest.dir().join("kept")).unwrap();
    let base = bench.tree().await;
    bench.write("a", "a\n");
    let (objects, pack) = bench.send(base, false).await;
    let objects = GuestObjects { whole, ..objects };
    let free = Free::look(&bench.host, wanted("work")).await.unwrap();
    let work = bench.take_in(objects, &pack, MANY).await.unwrap();
    let (tip, made) = work.commit(&free.wanted).await.unwrap();
    work.put(&free, tip, &bench.journals()).await.unwrap();
    assert_eq!(made, 1);
    assert_eq!(run(&bench.host, &["diff", "--name-status", "main", "work"]).await, "A\ta");
}

#[tokio::test]
async fn a_submodule_is_not_slipped_in() {
    let bench = Bench::new("sha1").await;
    let base = bench.tree().await;
    let inner = Git::new(bench.guest.dir().join("sub"));
    fs::create_dir(inner.dir()).unwrap();
    run(&inner, &["init", "-q"]).await;
    run(&inner, &["commit", "-q", "--allow-empty", "-m", "x"]).await;
    bench.write("a", "a\n");
    bench.export(base, wanted("work")).await.unwrap();
    assert_eq!(run(&bench.host, &["diff", "--name-status", "main", "work"]).await, "A\ta");
    // In a commit it is there, and found.
    run(&bench.guest, &["add", "-A"]).await;
    run(&bench.guest, &["commit", "-qm", "with a submodule"]).await;
    let (objects, pack) = bench.send(base, true).await;
    let work = bench.take_in(objects, &pack, MANY).await.unwrap();
    let reviewer = Reviewer::new(Some(&bench.host)).await.unwrap();
    let patch = bench.dir.path().join("patch");
    let mut is_risky = false;
    for step in work.steps() {
        work.patch(step, &patch, MANY).await.unwrap();
        is_risky |= reviewer.review_own(&patch).await.unwrap().is_risky();
    }
    assert!(is_risky);
}

#[tokio::test]
async fn nobody_is_worked_under() {
    let bench = Bench::new("sha1").await;
    let unborn = Git::new(bench.dir.path().join("unborn"));
    run(&Git::new(bench.dir.path()), &["init", "-q", "-b", "main", "unborn"]).await;
    let rebased = bench.host.dir().join(".git/rebase-merge");
    run(&bench.host, &["-c", "core.hooksPath=/dev/null", "branch", "other"]).await;
    run(&bench.host, &["-c", "core.hooksPath=/dev/null", "checkout", "-q", "--detach"]).await;
    fs::create_dir(&rebased).unwrap();
    fs::write(rebased.join("head-name"), "refs/heads/other\n").unwrap();
    // Others that the rebase takes along.
    run(&bench.host, &["-c", "core.hooksPath=/dev/null", "branch", "carried"]).await;
    fs::write(rebased.join("update-refs"), "refs/heads/first\n1\n2\nrefs/heads/carried\n3\n4\n").unwrap();
    for (host, name) in [(&unborn, "main"), (&bench.host, "other"), (&bench.host, "carried")] {
        let refused = Free::look(host, Wanted { force: true, ..wanted(name) }).await.unwrap_err();
        assert!(matches!(refused, WorkspaceError::BranchCheckedOut { .. }), "{name}: {refused}");
    }
    Free::look(&bench.host, Wanted { force: true, ..wanted("main") }).await.unwrap();
}

#[tokio::test]
async fn a_partial_clone_needs_not_be_completed() {
    let mut bench = Bench::new("sha1").await;
    run(&bench.guest, &["checkout", "-q", "--", "."]).await;
    for (name, content) in [("old", "only in the history\n"), ("apart/file", "apart\n")] {
        fs::create_dir_all(bench.host.dir().join("apart")).unwrap();
        bench.write_host(name, content);
    }
    let alone = ["-c", "core.hooksPath=/dev/null", "commit", "-q", "--no-gpg-sign", "-m", "next"];
    run(&bench.host, &["add", "-A"]).await;
    run(&bench.host, &alone).await;
    run(&bench.host, &["rm", "-q", "old"]).await;
    run(&bench.host, &alone).await;
    run(&bench.host, &["config", "uploadpack.allowFilter", "true"]).await;
    let from = format!("file://{}", bench.host.dir().display());
    let clone = ["-c", "protocol.file.allow=always", "clone", "-q", "--filter=blob:none", "--sparse", &from];
    let cloning = Git::new(bench.dir.path()).command(clone).arg("partial").env("GIT_NO_LAZY_FETCH", "0");
    cloning.run().await.unwrap();
    bench.host = Git::new(bench.dir.path().join("partial"));
    for (name, value) in [("user.name", "x"), ("user.email", "x@x"), ("remote.origin.url", "/nowhere")] {
        run(&bench.host, &["config", name, value]).await;
    }
    assert!(!bench.host.dir().join("apart").exists());
    run(&bench.guest, &["pull", "-q", "--ff-only"]).await;
    let whole = bench.tree().await;
    run(&bench.guest, &["rm", "-rq", "--cached", "apart"]).await;
    fs::remove_dir_all(bench.guest.dir().join("apart")).unwrap();
    let base = bench.tree().await;
    bench.write("a", "a\n");
    let (objects, pack) = bench.send(base, false).await;
    let objects = GuestObjects { whole, ..objects };
    let free = Free::look(&bench.host, wanted("work")).await.unwrap();
    let work = bench.take_in(objects, &pack, MANY).await.unwrap();
    let (tip, _) = work.commit(&free.wanted).await.unwrap();
    work.put(&free, tip, &bench.journals()).await.unwrap();
    assert_eq!(run(&bench.host, &["diff", "--name-status", "main", "work"]).await, "A\ta");
    run(&bench.host, &["fsck", "--strict", "--no-dangling"]).await;
}

#[tokio::test]
async fn what_a_dead_daemon_left_of_a_branch_goes_unless_it_is_needed() {
    let bench = Bench::new("sha1").await;
    let base = bench.tree().await;
    let before = bench.objects().await;
    for (name, is_needed) in [("none", false), ("relied-on", true), ("made", true)] {
        bench.write("a", name);
        let free = Free::look(&bench.host, wanted(name)).await.unwrap();
        let (objects, pack) = bench.send(base, false).await;
        let work = bench.take_in(objects, &pack, MANY).await.unwrap();
        let (tip, _) = work.commit(&free.wanted).await.unwrap();
        let packed = work.pack(tip).await.unwrap();
        BranchPack::put(&bench.host, &packed, tip, &bench.journals()).await.unwrap();
        match name {
            "made" => drop(
                run(&bench.host, &["-c", "core.hooksPath=/dev/null", "branch", name, &tip.to_string()]).await,
            ),
            // It has the blob already, and marks the pack that has it.
            "relied-on" => drop(
                run(&bench.host, &["hash-object", "-w", &bench.guest.dir().join("a").display().to_string()])
                    .await,
            ),
            _ => {}
        }
        recover_branches(&bench.journals()).await.unwrap();
        assert_eq!(bench.objects().await != before, is_needed, "{name}");
        run(&bench.host, &["fsck", "--strict", "--no-dangling"]).await;
        assert_eq!(fs::read_dir(bench.journals()).unwrap().count(), 0, "{name}");
    }
}
