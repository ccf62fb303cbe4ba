//! A VM that is stopped, killed or deleted does not wait for its workspace, and nobody sees half of one.

use std::time::{Duration, Instant};

use banger_api::vm::VmState;
use e2e::{Home, Repo, Running, eventually, until};
use rustix::process::Signal;

fn large_repo(home: &Home, megabytes: u32) -> Repo {
    let repo = Repo::new(home, "large");
    repo.write("f", "f\n").commit("one");
    repo.sh(&format!("for n in 1 2 3 4; do head -c {}M /dev/urandom > large$n; done", megabytes / 4));
    repo.git("add -N .");
    repo
}

/// Starts to prepare, and is back when bytes flow.
fn preparing(home: &Home, vm: &str, more: &str) -> Running {
    let words = format!("vm workspace prepare {vm} large {more}");
    let running = home.banger(&words).start();
    let staging = "ls -d /root/.banger-import-*/large1 2>/dev/null || true";
    eventually("the copy has begun", Duration::from_secs(60), || {
        Some(home.sh(vm, staging)).filter(|found| !found.is_empty())
    });
    running
}

#[test]
fn workspace_stop_kill_and_delete_do_not_wait_for_a_prepare() {
    let home = Home::golden();
    large_repo(&home, 400);
    home.banger("vm create --start --memory 512M --disk-size 4G --name x").ok();
    for verb in ["stop", "kill"] {
        let prepare = preparing(&home, "x", "");
        let start = Instant::now();
        home.banger(&format!("vm {verb} x")).ok();
        let cut = prepare.finish(Duration::from_secs(20));
        assert_eq!(cut.code, 4, "{cut}");
        cut.says("not running");
        let limit = if verb == "kill" { 5 } else { 60 };
        assert!(start.elapsed() < Duration::from_secs(limit), "{verb} took {:?}", start.elapsed());
        let vm = home.vm("x");
        assert_eq!((vm.state, vm.workspace), (VmState::Stopped, None));
        home.banger("vm start x").ok();
    }
    // Whoever asked may change their mind.
    let prepare = preparing(&home, "x", "");
    prepare.signal(Signal::INT);
    assert_eq!(prepare.finish(Duration::from_secs(20)).code, 130);
    assert_eq!(home.vm("x").workspace, None);
    let prepare = preparing(&home, "x", "");
    prepare.signal(Signal::KILL);
    drop(prepare);
    // What was cut off goes at the latest when the next one begins.
    let prepare = preparing(&home, "x", "");
    home.banger("vm delete --force x").ok();
    let cut = prepare.finish(Duration::from_secs(20));
    assert!(cut.code == 4 || cut.code == 3, "{cut}");
    home.assert_no_residue();

    // `run` with it leaves no VM.
    let run = home.banger("run --rm --memory 512M --disk-size 4G --name y large -- true").start();
    until("it runs", Duration::from_secs(60), || home.vms().iter().any(|vm| vm.state == VmState::Running));
    run.signal(Signal::INT);
    assert_eq!(run.finish(Duration::from_secs(60)).code, 130);
    home.assert_no_residue();
}

#[test]
fn workspace_an_export_never_sees_half_a_prepare() {
    let home = Home::golden();
    let repo = large_repo(&home, 96);
    let small = Repo::new(&home, "small");
    small.write("s", "s\n").commit("one");
    home.banger("vm create --start --memory 512M --disk-size 4G --name x").ok();
    home.banger("vm workspace prepare x small").ok();
    home.sh("x", "echo work >> s");
    let export = || home.banger("vm workspace export x").output();
    let patch = export();
    assert!(patch.text().contains("+work"), "{patch}");

    // Cut off on its way to the same place: what was there is there.
    let prepare = preparing(&home, "x", "--discard");
    prepare.signal(Signal::INT);
    prepare.finish(Duration::from_secs(20));
    let after = export();
    assert_eq!((after.code, after.out), (0, patch.out.clone()));
    let prepare = preparing(&home, "x", "--discard");
    home.kill_daemon();
    assert_ne!(prepare.finish(Duration::from_secs(20)).code, 0);
    let after = export();
    assert_eq!((after.code, after.out), (0, patch.out.clone()));
    assert_eq!(home.sh("x", "cat s"), "s\nwork");

    // Two at once, and an export: one after the other, each of them whole.
    let first = preparing(&home, "x", "--discard");
    let second = home.banger("vm workspace prepare x small --discard").start();
    let meanwhile = home.banger("vm workspace export x").start();
    assert_eq!(first.finish(Duration::from_secs(120)).code, 0);
    assert_eq!(second.finish(Duration::from_secs(120)).code, 0);
    let meanwhile = meanwhile.finish(Duration::from_secs(120));
    assert_eq!((meanwhile.code, meanwhile.out.len()), (0, 0), "{meanwhile}");
    assert_eq!(home.sh("x", "ls -A; git status --porcelain; ls -A .. | grep import || true"), ".git\ns");

    // Cut off in the midst of its last steps, whenever that is: the old one, the new one, or a refusal.
    for wait_ms in [0, 300, 1500] {
        home.banger("vm workspace prepare x small --discard").ok();
        let prepare = home.banger("vm workspace prepare x large --discard").start();
        let published =
            "ls /root/.banger-import-repo/.git/objects/pack/* /root/repo/large1 2>/dev/null || true";
        until("it is nearly there", Duration::from_secs(120), || !home.sh("x", published).is_empty());
        std::thread::sleep(Duration::from_millis(wait_ms));
        prepare.signal(Signal::INT);
        prepare.finish(Duration::from_secs(60));
        let after = export();
        match after.code {
            0 => assert!(after.out.is_empty(), "{wait_ms}: {after}"),
            code => assert!(code == 4 && after.err.contains("prepare"), "{wait_ms}: {after}"),
        }
    }
    repo.git("status --short");
}

#[test]
fn workspace_a_vm_that_is_killed_keeps_what_was_prepared() {
    let home = Home::golden();
    let repo = Repo::new(&home, "repo");
    repo.sh("for n in $(seq 300); do echo $n > small$n; done; head -c 40M /dev/urandom > large");
    repo.commit("one").write("changed", "not committed\n").git("add changed");
    home.banger("vm create --start --memory 512M --name x").ok();
    home.banger("vm workspace prepare x repo").ok();
    home.banger("vm kill x").ok();
    home.banger("vm start x").ok();
    home.sh("x", "git fsck --strict --no-dangling --no-progress >&2");
    assert_eq!(home.sh("x", "git status --porcelain"), "A changed", "an intent to add");
    let export = home.banger("vm workspace export x").ok();
    assert!(export.out.is_empty(), "{export}");
    assert_eq!(home.sh("x", "git hash-object large"), repo.git("hash-object large").trim());
}
