use std::time::Duration;

use e2e::{Home, skipped, tool};

#[test]
fn needs_a_reachable_mirror_the_guest_gets_out() {
    // The guest's package sources are the distribution's own; whether they can be reached is the host's
    // affair.
    let home = Home::new();
    home.boot("x");
    assert_eq!(home.sh("x", "ls /sys/class/net | sort | tr '\\n' ' '").trim(), "eth0 lo");
    let mirror = home.sh("x", "cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | grep -o '[a-z]*://[^/ ]*' | head -1 | cut -d/ -f3");
    assert!(!mirror.is_empty(), "the image has no package source");
    match tool(&["getent", "ahostsv4", &mirror]) {
        Some((true, _)) => {}
        _ => return skipped("the host itself cannot resolve the mirror of the guest's package sources"),
    }
    let found = home.banger("exec x").args(["--", "getent", "ahostsv4", &mirror]).ok();
    assert!(!found.text().is_empty(), "{found}");
    let connect = format!("exec 3<>/dev/tcp/{mirror}/80");
    let from_host = tool(&["timeout", "5", "bash", "-c", &connect]);
    if !from_host.is_some_and(|(reached, _)| reached) {
        return skipped("the host itself cannot connect to that mirror directly");
    }
    home.banger("exec x").args(["--", "bash", "-c", &connect]).limit(Duration::from_secs(40)).ok();
    home.banger("exec x -- apt-get update").limit(Duration::from_secs(180)).ok();
}

#[test]
fn the_guest_knows_itself_and_its_name_server() {
    let home = Home::new();
    home.boot("x");
    assert_eq!(home.vm("x").address.as_deref(), Some("198.18.0.2"));
    let known = home.sh("x", "hostname; getent hosts x | grep -c x; grep -c nameserver /etc/resolv.conf");
    assert_eq!(known, "x\n1\n1");
}

#[test]
fn no_network_means_none() {
    let home = Home::new();
    home.banger("vm create --start --network none --name x").ok();
    assert_eq!(home.sh("x", "ls /sys/class/net"), "lo");
    assert_eq!(home.vm("x").address, None);
}
