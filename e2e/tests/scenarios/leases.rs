//! `vm run --rm`: however it ends, nothing of its VM is left.

use std::time::Duration;

use e2e::Home;
use rustix::process::Signal;

/// From before the request is sent to the command's running, on a machine that takes some 4 s to boot.
const MOMENTS_MS: [u64; 6] = [20, 150, 600, 1500, 3000, 6000];

#[test]
fn ctrl_c_at_any_moment_leaves_nothing() {
    let home = Home::new();
    for moment_ms in MOMENTS_MS {
        let running = home.banger("run --rm -- sleep 1111").start();
        std::thread::sleep(Duration::from_millis(moment_ms));
        running.signal(Signal::INT);
        let ended = running.finish(Duration::from_secs(40));
        assert_eq!(ended.code, 130, "after {moment_ms} ms: {ended}");
        home.assert_no_residue();
    }
}

#[test]
fn a_killed_client_leaves_nothing() {
    let home = Home::new();
    for moment_ms in MOMENTS_MS {
        let running = home.banger("run --rm -- sleep 1111").start();
        std::thread::sleep(Duration::from_millis(moment_ms));
        running.signal(Signal::KILL);
        running.finish(Duration::from_secs(20));
        home.assert_no_residue();
    }
}

#[test]
fn a_killed_daemon_leaves_nothing_once_the_next_command_has_run() {
    let home = Home::new();
    home.banger("daemon start").ok();
    for moment_ms in MOMENTS_MS {
        let running = home.banger("run --rm -- sleep 1111").start();
        std::thread::sleep(Duration::from_millis(moment_ms));
        home.kill_daemon();
        let ended = running.finish(Duration::from_secs(40));
        assert_eq!(ended.code, 125, "after {moment_ms} ms: {ended}");
        assert!(ended.err.contains("error:"), "{ended}");
        home.assert_no_residue();
    }
}

#[test]
fn a_detached_one_goes_when_it_stops() {
    let home = Home::new();
    let name = home.banger("run --rm --detach").ok().text();
    assert_eq!(home.sh(&name, "echo hi"), "hi");
    home.banger("vm stop").args([&name]).ok();
    home.assert_no_residue();
}
