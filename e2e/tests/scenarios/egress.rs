//! What a guest can reach, and what it cannot, against real servers in a network of the test's own.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use banger_api::egress::{Egress, Protocol, Verdict};
use e2e::{Home, LOOPBACK_PORT, OwnedProcess, World, is_alive, skipped, tool, until};
use rustix::process::Signal;

/// What the host's resolver knows.
const HOSTS: &str = "
127.0.0.1 localhost loopback.test
::1 loopback6.test
44.0.0.2 open.test mixed.test
10.9.0.2 private.test mixed.test
2a00:44::2 six.test
44.0.0.3 allowed.test other.test
169.254.169.254 metadata.test
168.63.129.16 azure.test
::ffff:10.9.0.2 mapped.test
64:ff9b::a09:2 nat64.test
2002:a09:2::1 sixtofour.test
fd44::2 unique-local.test
44.0.0.1 own.test
10.9.0.1 own-private.test
2a00:44::1 own6.test
fe80::1 link-local6.test
239.1.2.3 group.test
44.0.0.2 second.test
";

pub(super) const NO_ROOT: &str = "network namespaces take root";

pub(super) fn is_root() -> bool {
    tool(&["unshare", "--net", "--mount", "true"]).is_some_and(|(works, _)| works)
}

/// A home on the host of a world of its own.
pub(super) fn golden_home() -> (Home, World) {
    let home = Home::golden();
    let world = World::new(&home, HOSTS);
    let [net, mnt] = world.entry();
    (home.under(&["nsenter", &net, &mnt]), world)
}

fn gateways(home: &Home) -> Vec<OwnedProcess> {
    home.processes("gateway-of-")
}

fn egress(home: &Home, vm: &str) -> Egress {
    let shown = home.banger("vm egress --json").args([vm]).ok();
    serde_json::from_slice(&shown.out).unwrap_or_else(|error| panic!("{error} in {shown}"))
}

/// Runs Python in the guest; its stdout.
#[track_caller]
pub(super) fn python(home: &Home, vm: &str, script: &str) -> String {
    home.banger("exec").args([vm, "--", "python3", "-"]).stdin(script).ok().text()
}

/// What the guest gets from there: a line of it, or why there is none.
#[track_caller]
pub(super) fn get(home: &Home, vm: &str, url: &str) -> String {
    home.sh(vm, &format!("curl -sS --max-time 5 {url} 2>&1 || true"))
}

#[test]
fn needs_root_a_guest_reaches_what_its_policy_allows_and_nothing_else() {
    if !is_root() {
        return skipped(NO_ROOT);
    }
    let (home, world) = golden_home();
    home.boot("x");
    what_is_allowed_works(&home, &world);
    every_way_around_fails(&home, &world);
    a_daemon_comes_and_goes(&home, &world);
    a_gateway_that_dies_has_a_successor(&home);
    a_policy_changes_at_once(&home);
    the_log_says_what_was_done(&home);
    a_lock_allows_what_was_contacted(&home);
    home.banger("vm stop x").ok();
    until("the gateway has ended with its VM", Duration::from_secs(5), || gateways(&home).is_empty());
    no_network_is_no_gateway(&home);
    home.banger("vm delete x n --force").ok();
    home.assert_no_residue();
}

fn what_is_allowed_works(home: &Home, world: &World) {
    assert_eq!(get(home, "x", "http://open.test"), "you reached 44.0.0.2 80");
    assert_eq!(get(home, "x", "http://OPEN.test."), "you reached 44.0.0.2 80");
    assert_eq!(get(home, "x", "http://44.0.0.3"), "you reached 44.0.0.3 80");
    assert_eq!(get(home, "x", "http://six.test"), "you reached 2a00:44::2 80");
    assert_eq!(get(home, "x", "http://mixed.test"), "you reached 44.0.0.2 80");
    let script = "import socket\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.settimeout(5)\n\
        s.sendto(b'hello', ('open.test', 7))\nprint(s.recv(100))";
    assert_eq!(python(home, "x", script), "b'hello'");
    // A server that speaks first, and says it all at once.
    let listen = "import socket\ns = socket.create_connection(('open.test', 13), 5)\n\
        print(s.makefile().read().strip())";
    assert_eq!(python(home, "x", listen), "you reached 44.0.0.2 13");
    let mut used = of(&ALLOWED);
    used.remove("icmp 44.0.0.2");
    assert_eq!(world.sent(), used);
}

/// Everything that may ever be sent in `internet`.
const ALLOWED: [&str; 6] = [
    "tcp 44.0.0.2 80",
    "tcp 44.0.0.2 13",
    "tcp 44.0.0.3 80",
    "tcp 2a00:44::2 80",
    "udp 44.0.0.2 7",
    "icmp 44.0.0.2",
];

fn of(texts: &[&str]) -> BTreeSet<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn every_way_around_fails(home: &Home, world: &World) {
    let before = world.servers().requests().len();
    let script = include_str!("egress_attempts.py");
    let tried = python(home, "x", script);
    let attempts: Vec<(f64, &str)> = tried
        .lines()
        .map(|line| line.split_once('\t').map(|(ms, rest)| (ms.parse().unwrap(), rest)).unwrap())
        .collect();
    assert!(attempts.len() >= 60, "only {} attempts:\n{tried}", attempts.len());
    // What is allowed, by the same ways: they would show it.
    let reaches = |rest: &str| rest.starts_with("reached") == rest.contains("\tallowed ");
    let wrong: Vec<_> = attempts.iter().filter(|(ms, rest)| *ms >= 1000.0 || !reaches(rest)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}\n{tried}");
    let sent: Vec<_> = world.sent().difference(&of(&ALLOWED)).cloned().collect();
    assert!(sent.is_empty(), "{sent:?} was sent after\n{tried}");
    // Only the servers that redirected have seen anything.
    let requests = world.servers().requests().split_off(before);
    assert!(requests.iter().all(|request| request.starts_with("44.0.0.2 80")), "{requests:#?}");
}

/// Starts in the guest what goes on after `exec`: that ends with the daemon.
fn begin_download(home: &Home) {
    let download = "curl -sS http://open.test/large | sha256sum > /root/sum; touch /root/done";
    home.banger("exec x -- systemd-run --quiet sh -c").args([download]).ok();
}

fn a_daemon_comes_and_goes(home: &Home, world: &World) {
    begin_download(home);
    let gateway = gateways(home);
    let requests = || world.servers().requests().iter().filter(|text| text.contains("/large")).count();
    until("the download has begun", Duration::from_secs(10), || requests() == 1);
    home.kill_daemon();
    // Asking starts another one.
    home.vm("x");
    home.banger("daemon stop").ok();
    let first = home.sh("x", "ls /root/done 2>&1 || true");
    assert!(first.contains("No such file"), "it was over too soon to show anything: {first}");
    until("the download has ended", Duration::from_secs(30), || home.sh("x", "ls /root").contains("done"));
    assert_eq!(home.sh("x", "cut -d' ' -f1 /root/sum"), world.servers().large_sha256());
    assert_eq!(requests(), 1);
    assert_eq!(pids(&gateway), pids(&gateways(home)), "a daemon goes on with the gateway that is there");
}

fn pids(processes: &[OwnedProcess]) -> Vec<u32> {
    processes.iter().map(|process| process.pid).collect()
}

fn a_gateway_that_dies_has_a_successor(home: &Home) {
    let address = home.sh("x", "getent hosts open.test | cut -d' ' -f1");
    let [gateway] = &gateways(home)[..] else { panic!("{:?}", gateways(home)) };
    let (killed, dead) = (Instant::now(), gateway.pid);
    gateway.signal(Signal::KILL);
    until("it is dead", Duration::from_secs(1), || !is_alive(dead));
    let script = format!(
        "import socket, time\nstart = time.monotonic()\n\
        s = socket.create_connection(('{address}', 80), 5)\nprint(time.monotonic() - start)\n\
        s.sendall(b'GET / HTTP/1.1\\r\\nhost: x\\r\\n\\r\\n')\nprint(s.recv(999).decode())"
    );
    let reached = python(home, "x", &script);
    let (took, answer) = reached.split_once('\n').unwrap();
    // What an address stands for is known to the next gateway.
    assert!(answer.ends_with("you reached 44.0.0.2 80"), "{answer}");
    assert!(took.parse::<f64>().unwrap() < 1.0, "{took} s, and {:?} after the kill", killed.elapsed());
    let successor = gateways(home);
    assert!(successor.len() == 1 && successor[0].pid != dead, "{successor:?}");
    let logs = home.banger("daemon logs").ok().text();
    assert!(logs.contains("gateway has ended"), "{logs}");
}

fn a_policy_changes_at_once(home: &Home) {
    // `host:PORT` opens this port, and nothing beside it.
    let loopback = format!("http://host.vm:{LOOPBACK_PORT}");
    assert!(get(home, "x", &loopback).contains("curl: (7)"));
    home.banger(&format!("vm egress x --allow host:{LOOPBACK_PORT}")).ok();
    assert_eq!(get(home, "x", &loopback), format!("you reached 127.0.0.1 {LOOPBACK_PORT}"));
    assert!(get(home, "x", "http://host.vm").contains("curl: (7)"));
    assert!(get(home, "x", &format!("http://localhost:{LOOPBACK_PORT}")).contains("curl: (7)"));
    // A private service by name and port, and no other port of it.
    home.banger("vm egress x --allow private.test:80").ok();
    assert_eq!(get(home, "x", "http://private.test"), "you reached 10.9.0.2 80");
    assert!(get(home, "x", "http://private.test:7").contains("curl: (7)"));
    assert!(get(home, "x", "http://10.9.0.2").contains("curl: (7)"));
    // A connection that stands is cut.
    let hold = "import socket\ns = socket.create_connection(('open.test', 7))\nprint(s.recv(99).decode(), flush=True)\n\
        try: print('end:', s.recv(99))\nexcept OSError as error: print('cut:', error)";
    let mut held = home.banger("exec x -- python3 -c").args([hold]).start();
    held.wait_for("you reached 44.0.0.2 7");
    home.banger("vm egress x --deny open.test").ok().says("one connection was cut");
    let held = held.finish(Duration::from_secs(5)).text();
    assert!(held.contains("cut: "), "{held}");
    assert!(get(home, "x", "http://open.test").contains("curl: (6)"));
    home.banger("vm egress x --allow open.test").ok();
    assert_eq!(get(home, "x", "http://open.test"), "you reached 44.0.0.2 80");
}

fn the_log_says_what_was_done(home: &Home) {
    let Egress { policy, rows } = egress(home, "x");
    assert!(policy.contains(&"internet".to_owned()), "{policy:?}");
    let row = |name: &str, port: u16, verdict: Verdict| {
        let found = rows.iter().find(|row| {
            row.name.as_deref() == Some(name)
                && (row.port, row.verdict, row.protocol) == (Some(port), verdict, Protocol::Tcp)
        });
        found.unwrap_or_else(|| panic!("no row of {name}:{port} {verdict}: {rows:#?}"))
    };
    let open = row("open.test", 80, Verdict::Allowed);
    assert!(open.received_bytes > 16 << 20 && open.sent_bytes > 500, "{open:?}");
    let host = row("host.vm", LOOPBACK_PORT, Verdict::Allowed);
    assert_eq!(host.rule, Some(format!("host:{LOOPBACK_PORT}")));
    let private = row("private.test", 80, Verdict::Allowed);
    assert_eq!(private.rule.as_deref(), Some("private.test:80"));
    for (name, reason) in [
        ("private.test", "private-address"),
        ("metadata.test", "link-local-address"),
        ("own.test", "host-address"),
        ("host.vm", "host-port"),
    ] {
        assert_eq!(row(name, 80, Verdict::Refused).reason.as_deref(), Some(reason), "{name}");
    }
    let dir = home.state().join("vms").join(&home.vm("x").id);
    let lines = attempts_in(&dir.join("network/egress.ndjson"));
    // One for each attempt (refusals that are the same within 10 s are one).
    let to_open = |line: &&serde_json::Value| line["name"] == "open.test" && line["protocol"] == "tcp";
    let (lines, attempts) = (lines.iter().filter(to_open).count(), &open.attempts);
    assert!(lines as u64 >= *attempts, "{lines} lines of {attempts} attempts");
}

fn attempts_in(log: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(log).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn a_lock_allows_what_was_contacted(home: &Home) {
    home.banger("vm egress x --lock").ok();
    assert_eq!(get(home, "x", "http://open.test"), "you reached 44.0.0.2 80");
    assert_eq!(get(home, "x", "http://private.test"), "you reached 10.9.0.2 80");
    let loopback = format!("http://host.vm:{LOOPBACK_PORT}");
    assert_eq!(get(home, "x", &loopback), format!("you reached 127.0.0.1 {LOOPBACK_PORT}"));
    assert!(get(home, "x", "http://second.test").contains("curl: (6)"), "it was not contacted before");
    assert!(get(home, "x", "http://44.0.0.2:13").contains("curl: (7)"), "that was contacted by name");
}

fn no_network_is_no_gateway(home: &Home) {
    home.banger("vm create --start --network none --name n").ok();
    assert_eq!(home.sh("n", "ls /sys/class/net"), "lo");
    assert!(gateways(home).is_empty(), "{:?}", gateways(home));
}
