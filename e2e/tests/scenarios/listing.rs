use std::time::Duration;

use e2e::Home;
use rusqlite::Connection;

/// SPEC promises 50 ms, which `bench` measures; a test machine may be busy with other scenarios.
const LIMIT: Duration = Duration::from_millis(500);

#[test]
fn two_hundred_vms_are_listed_at_once() {
    let home = Home::new();
    home.banger("vm create --name template").ok();
    home.banger("daemon stop").ok();
    seed_rows(&home, 199);
    assert_eq!(home.vms().len(), 200);
    let fastest = |times: u32| (0..times).map(|_| home.banger("vm list --all").ok().took).min().unwrap();
    assert!(fastest(5) < LIMIT, "{:?}", fastest(1));

    // While another one boots, too.
    let boot = home.banger("vm start template").start();
    e2e::until("it boots", Duration::from_secs(20), || !home.processes("qemu").is_empty());
    assert!(fastest(5) < LIMIT, "while a VM boots: {:?}", fastest(1));
    assert_eq!(boot.finish(Duration::from_secs(60)).code, 0);
    // The copies have no disks: they are broken, and shown for that.
    let listed = home.banger("vm list").ok();
    let running = listed.text().lines().filter(|line| line.contains("running")).count();
    assert_eq!((running, listed.text().lines().count()), (1, 201), "{listed}");
}

/// Copies the only row, `count` times: a disk for each would take minutes and prove nothing about listing.
fn seed_rows(home: &Home, count: usize) {
    let store = Connection::open(home.state().join("banger.db")).unwrap();
    for n in 0..count {
        let copy = "INSERT INTO vms (id, name, image_id, kernel_id, phase, created_at_unix_ms, spec)
            SELECT printf('%012x', ?1), printf('copy-%d', ?1), image_id, kernel_id, phase, created_at_unix_ms, spec
            FROM vms WHERE name = 'template'";
        assert_eq!(store.execute(copy, [n as i64]).unwrap(), 1);
    }
}

#[test]
fn an_idle_daemon_is_small() {
    let home = Home::new();
    home.banger("run --rm -- true").ok();
    let pid = home.daemon().pid;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let rss_kib: u64 = rss.trim().trim_end_matches(" kB").trim().parse().unwrap();
    assert!(rss_kib <= 20 * 1024, "{rss_kib} KiB");
    assert!(home.banger("version").ok().took < Duration::from_millis(200));
}
