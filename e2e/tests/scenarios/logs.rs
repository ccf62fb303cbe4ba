use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use banger_api::vm::VmState;
use e2e::{Home, until};
use rustix::process::Signal;

const HALF_BYTES: u64 = 8 << 20;

fn len(path: &Path) -> u64 {
    path.metadata().map_or(0, |meta| meta.len())
}

/// Writes to the pipe that a VM's keeper reads the console from, as its VMM would: an emulated serial port
/// takes minutes for as much.
fn say(home: &Home, lines: usize, word: &str) {
    let keepers = home.processes("vmm-log");
    let [keeper] = &keepers[..] else { panic!("{keepers:?}") };
    let (number, _) = keeper.line.split_once(":console.log").unwrap();
    let number = number.rsplit(' ').next().unwrap();
    let pipe = format!("/proc/{}/fd/{number}", keeper.pid);
    let mut pipe = File::options().write(true).open(pipe).unwrap();
    let line = format!("{}\n", "x".repeat(65_535));
    for _ in 0..lines {
        pipe.write_all(line.as_bytes()).unwrap();
    }
    writeln!(pipe, "said-{word}").unwrap();
}

#[test]
fn a_console_that_never_stops_is_bounded_and_followed_over_the_cut() {
    let home = Home::new();
    home.boot("x");
    let dir = std::fs::read_dir(home.state().join("vms")).unwrap().next().unwrap().unwrap().path();
    let [newer, older] = ["console.log", "console.log.1"].map(|name| dir.join(name));
    let mut following = home.banger("vm logs --follow x").start();
    say(&home, 208, "one");
    following.wait_for("said-one");
    assert!(following.out_len() as u64 > 13 << 20, "{} bytes", following.out_len());
    assert!(len(&older) > 0 && len(&older) <= HALF_BYTES && len(&newer) <= HALF_BYTES);
    let both = || len(&older) + len(&newer);
    let before = both();
    let logs = home.banger("vm logs x").ok();
    assert!((before..=both()).contains(&(logs.out.len() as u64)), "{} bytes", logs.out.len());
    // The guest's init may have its word after that, if only to reset the terminal.
    assert!(logs.text().contains("said-one"));

    // Without a daemon it goes on; without the process that writes it, the guest does.
    home.kill_daemon();
    let keepers = || home.processes("vmm-log");
    assert_eq!(keepers().len(), 1, "{:?}", keepers());
    home.sh("x", "echo said-two > /dev/ttyS0");
    until("it is logged", Duration::from_secs(10), || {
        home.banger("vm logs x").ok().text().contains("said-two")
    });
    keepers().iter().for_each(|keeper| keeper.signal(Signal::KILL));
    until("nobody logs", Duration::from_secs(10), || keepers().is_empty());
    home.sh("x", "head -c 100000 /dev/zero | tr '\\0' x > /dev/ttyS0");
    assert_eq!(home.vm("x").state, VmState::Running);

    // Each boot has a log of its own, and a keeper that ends with it.
    home.banger("vm stop x").ok();
    home.banger("vm start x").ok();
    assert!(!home.banger("vm logs x").ok().text().contains("said"));
    assert_eq!(keepers().len(), 1);
    home.banger("vm delete --force x").ok();
    home.assert_no_residue();
}
