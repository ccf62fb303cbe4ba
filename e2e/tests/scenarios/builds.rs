//! Builds of images and kernels that do not get through.

use std::time::Duration;

use e2e::{Home, MountNamespace, skipped, tool, until};
use rustix::process::Signal;

const LONG: Duration = Duration::from_secs(600);

#[test]
fn a_build_that_is_cut_off_leaves_nothing_and_can_be_repeated() {
    let home = Home::bare();
    for cut in ["client by signal", "daemon by force"] {
        let pull = home.banger("kernel pull debian-6.12").start();
        until("mmdebstrap runs", Duration::from_secs(60), || !home.processes("mmdebstrap").is_empty());
        std::thread::sleep(Duration::from_millis(1500));
        match cut {
            "client by signal" => pull.signal(Signal::INT),
            _ => home.kill_daemon(),
        }
        let pull = pull.finish(Duration::from_secs(60));
        assert_ne!(pull.code, 0, "{pull}");
        // The next command finds whatever was left.
        home.assert_no_residue();
        assert_eq!(home.banger("kernel list -q").ok().text(), "");
    }
    // A client that goes away does not call it off: the next one finds it done.
    let pull = home.banger("kernel pull debian-6.12").start();
    until("mmdebstrap runs", Duration::from_secs(60), || !home.processes("mmdebstrap").is_empty());
    pull.signal(Signal::KILL);
    home.banger("kernel pull debian-6.12").limit(LONG).ok();
    assert_eq!(home.banger("kernel list -q").ok().text(), "debian-6.12");
    home.assert_no_residue();
}

#[test]
fn two_clients_share_one_build() {
    let home = Home::bare();
    let pulls: Vec<_> = (0..2).map(|_| home.banger("kernel pull debian-6.12").start()).collect();
    for pull in pulls {
        let pull = pull.finish(LONG);
        assert_eq!(pull.code, 0, "{pull}");
    }
    home.assert_no_residue();
}

/// Gives the state directory a small disk of its own, which only the daemon and what it starts can see.
const SMALL_DISK: &str = "mkdir -p \"$XDG_STATE_HOME\" && mount -t tmpfs -o mode=0700,size=$SMALL_DISK tmpfs \"$XDG_STATE_HOME\" && exec \"$@\"";

#[test]
fn needs_root_a_full_disk_ends_a_build() {
    if !tool(&["unshare", "--mount", "true"]).is_some_and(|(works, _)| works) {
        return skipped("mounting a small disk takes root");
    }
    let home = Home::bare();
    // Too small from the start.
    let namespace = MountNamespace::new(&home, SMALL_DISK, "64M");
    let home = home.under(&["nsenter", &namespace.entry()]);
    home.banger("image pull debian-trixie-minimal")
        .fails_with(5)
        .says("disk space")
        .says("help: free some disk space");
    home.banger("daemon stop").ok();

    // Large enough, until somebody else fills it.
    let disk = home.root().join("state");
    namespace.tool(&["mount", "-o", "remount,size=1200M", disk.to_str().unwrap()]);
    let state = namespace.outside(&home.state());
    let pull = home.banger("kernel pull debian-6.12").start();
    until("mmdebstrap runs", Duration::from_secs(60), || !home.processes("mmdebstrap").is_empty());
    let filler = format!("{state}/filler");
    // What there is left, however much the build has taken by now.
    let (_, said) = tool(&["dd", "if=/dev/zero", "bs=1M", "count=2000", &format!("of={filler}")]).unwrap();
    let pull = pull.finish(LONG);
    assert_eq!(pull.code, 5, "{pull} (the filler: {said})");
    // Which of the two depends on how much the failed build had freed when somebody looked.
    assert!(["disk is full", "not enough disk space"].iter().any(|words| pull.err.contains(words)), "{pull}");
    pull.says("help: free some disk space");
    std::fs::remove_file(filler).unwrap();
    assert_eq!(std::fs::read_dir(format!("{state}/kernels")).unwrap().count(), 0, "half a kernel is left");
    assert!(home.processes("mmdebstrap").is_empty());
    home.banger("kernel pull debian-6.12").limit(LONG).ok();
}
