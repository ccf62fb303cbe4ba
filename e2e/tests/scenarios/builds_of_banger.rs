//! CLI and daemon of different builds.

use std::path::Path;
use std::time::Duration;

use e2e::{Home, Programs, Run, http};
use rustix::process::Signal;

/// What stands in for the commit of another build. The compiler may have put a commit into instructions, 8
/// bytes at a time, so only its beginning is changed.
const OTHER: &[u8] = b"another";

/// The programs under test, as if built from another commit: what an upgrade or another branch leaves behind.
fn other_build(home: &Home) -> Programs {
    let commit = home.daemon().build.commit;
    home.banger("daemon stop").ok();
    let programs = Programs::find().copy_to(&home.root().join("other"));
    for name in ["banger", "bangerd"] {
        replace_all(&programs.path(name), &commit.as_bytes()[..OTHER.len()], OTHER);
    }
    programs
}

fn replace_all(path: &Path, from: &[u8], to: &[u8]) {
    let mut bytes = std::fs::read(path).unwrap();
    let places: Vec<usize> =
        (0..bytes.len() - from.len()).filter(|at| bytes[*at..].starts_with(from)).collect();
    assert!(!places.is_empty(), "{from:?} is nowhere in {}", path.display());
    for at in places {
        bytes[at..at + to.len()].copy_from_slice(to);
    }
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn an_idle_daemon_of_another_build_is_replaced_and_a_busy_one_is_not() {
    let home = Home::new();
    home.boot("x");
    let pid = home.vmm_pid("x");
    let other = other_build(&home);
    let other_banger = || -> Run<'_> { home.program(other.path("banger")) };
    let is_other = || home.daemon().build.commit.as_bytes().starts_with(OTHER);

    let mut session = other_banger().args(["exec", "x"]).sh("echo started; sleep 1111").start();
    session.wait_for("started");
    assert!(is_other());
    // Whoever asks it something all the same is told who is who.
    let refused = http(&home.socket(), "GET /v1/vms", &[("banger-build", "9.9.9 feedbeef0123")], "");
    assert_eq!(refused.status, 426, "{refused:?}");
    assert!(
        refused.body.contains("version_mismatch") && refused.body.contains("feedbeef0123"),
        "{refused:?}"
    );
    // Its commands would be cut off.
    let busy = home.banger("vm list").fails_with(4);
    busy.says("another").says("busy").says("help: ").says("banger daemon stop");
    assert!(is_other() && !session.has_ended());

    session.signal(Signal::TERM);
    assert_eq!(session.finish(Duration::from_secs(20)).code, 143);
    e2e::until("the session is over", Duration::from_secs(10), || home.daemon().sessions == 0);
    home.banger("vm list").ok().says("restarted bangerd").says("another");
    assert!(!is_other());
    // VMs are not touched, though their agent is of the other build.
    assert_eq!(home.vm("x").vmm_pid, Some(pid));
    assert_eq!(home.sh("x", "echo hi"), "hi");

    // The other way round, and cut off by the way out that the refusal named.
    other_banger().args(["vm", "list"]).ok().says("restarted bangerd");
    assert!(is_other());
    home.banger("daemon stop").ok();
    assert_eq!(home.vm("x").vmm_pid, Some(pid));
}
