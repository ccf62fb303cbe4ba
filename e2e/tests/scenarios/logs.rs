use std::path::Path;
use std::time::Duration;

use banger_api::vm::VmState;
use e2e::{Home, until};
use rustix::process::Signal;

const HALF_BYTES: u64 = 8 << 20;

fn len(path: &Path) -> u64 {
    path.metadata().map_or(0, |meta| meta.len())
}

/// Says 13 MiB on the console, each line of them once, and then a word. Faster than a serial port: through the kernel's log
/// it would be cut.
const TALK: &str = "i=0; while [ $i -lt 26 ]; do i=$((i+1)); dd if=/dev/zero bs=64k count=8 2>/dev/null | tr '\\0' x > /dev/ttyS0; echo > /dev/ttyS0; done; echo said-$WORD > /dev/ttyS0";

#[test]
fn a_console_that_never_stops_is_bounded_and_followed_over_the_cut() {
    let home = Home::new();
    home.boot("x");
    let dir = std::fs::read_dir(home.state().join("vms")).unwrap().next().unwrap().unwrap().path();
    let [newer, older] = ["console.log", "console.log.1"].map(|name| dir.join(name));
    let mut following = home.banger("vm logs --follow x").start();
    home.banger("exec x").sh(&format!("WORD=one; {TALK}")).limit(Duration::from_secs(300)).ok();
    following.wait_for("said-one");
    assert!(following.out_len() as u64 > 13 << 20, "{} bytes", following.out_len());
    assert!(len(&older) > 0 && len(&older) <= HALF_BYTES && len(&newer) <= HALF_BYTES);
    let told = home.banger("vm logs x").ok();
    assert_eq!(told.out.len() as u64, len(&older) + len(&newer));
    assert!(told.text().ends_with("said-one"));

    // Without a daemon it goes on; without the process that writes it, the guest does.
    home.kill_daemon();
    let keepers = || home.processes("vmm-log");
    assert_eq!(keepers().len(), 1, "{:?}", keepers());
    home.sh("x", "echo said-two > /dev/ttyS0");
    until("it is logged", Duration::from_secs(10), || {
        home.banger("vm logs x").ok().text().ends_with("said-two")
    });
    keepers().iter().for_each(|keeper| keeper.signal(Signal::KILL));
    until("nobody logs", Duration::from_secs(10), || keepers().is_empty());
    home.sh("x", "dd if=/dev/zero bs=64k count=4 2>/dev/null | tr '\\0' x > /dev/ttyS0");
    assert_eq!(home.vm("x").state, VmState::Running);

    // Each boot has a log of its own, and a keeper that ends with it.
    home.banger("vm stop x").ok();
    home.banger("vm start x").ok();
    assert!(!home.banger("vm logs x").ok().text().contains("said"));
    assert_eq!(keepers().len(), 1);
    home.banger("vm delete --force x").ok();
    home.assert_no_residue();
}
