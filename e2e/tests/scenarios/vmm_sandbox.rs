//! Who breaks out of a guest has what its VMM has. A program in QEMU's place tries.

use std::collections::BTreeMap;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;

use e2e::{Home, http, is_alive, skipped};

const PROBE: &str = env!("CARGO_BIN_EXE_vmm_probe");

/// Denied by the filter on system calls, on every kernel.
const BY_SECCOMP: &[&str] = &[
    "chmod",
    "fchmodat",
    "fchmodat2",
    "fchmod",
    "chown",
    "fchownat",
    "utimensat",
    "setxattr",
    "getxattr",
    "truncate",
    "inotify",
    "file handle",
    "flock",
    "empty the disk",
    "link",
    "symlink",
    "rename",
    "rename outside",
    "mkdir",
    "mkfifo",
    "mknod",
    "chdir",
    "kill",
    "tkill",
    "tgkill",
    "sigqueue",
    "pidfd_open",
    "pidfd_send_signal",
    "pidfd_getfd",
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "prlimit",
    "setpriority",
    "fork",
    "clone",
    "spawn",
    "exec",
    "exec from memory",
    "a datagram socket",
    "a socket pair",
    "AF_NETLINK",
    "AF_PACKET",
    "AF_VSOCK",
    "AF_ALG",
    "raw IP",
    "MPTCP",
    "unshare",
    "setns",
    "mount",
    "chroot",
    "keyctl",
    "bpf",
    "perf_event_open",
    "userfaultfd",
    "io_uring",
    "System V memory",
    "TIOCSTI",
    "TIOCSTI, high bits set",
];

/// Denied by landlock.
const BY_LANDLOCK: &[&str] = &[
    "read a secret",
    "write a secret",
    "list a directory",
    "write the handles",
    "make a file",
    "another's environ",
    "another's mem",
    "another's status",
    "another's cmdline",
    "another's maps",
    "another's oom_score_adj",
    "a disk of the host",
    "the system's settings",
];

#[test]
fn a_program_in_qemus_place_reaches_nothing() {
    let (home, other) = (Home::new(), Home::bare());
    other.banger("daemon start").ok();
    let probe = home.root().join("bin/vmm-probe");
    std::fs::create_dir(probe.parent().unwrap()).unwrap();
    std::fs::copy(PROBE, &probe).unwrap();
    let config = home.root().join("config/banger/config.toml");
    let configured = std::fs::read_to_string(&config).unwrap();
    home.configure(&format!("qemu_bin = {:?}\n{configured}", probe.to_str().unwrap()));

    let secret = home.root().join(".ssh/id");
    std::fs::create_dir(secret.parent().unwrap()).unwrap();
    std::fs::write(&secret, "secret").unwrap();
    std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
    let victim = home.program("/bin/sleep").args(["600"]).start();
    symlink(victim.pid().to_string(), home.root().join("victim")).unwrap();
    symlink(other.socket(), home.root().join("other.sock")).unwrap();
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    symlink(tcp.local_addr().unwrap().port().to_string(), home.root().join("port")).unwrap();
    let _unix = UnixListener::bind(home.root().join("listener.sock")).unwrap();
    let name = home.root().file_name().unwrap().as_encoded_bytes();
    let _hidden = UnixListener::bind_addr(&SocketAddr::from_abstract_name(name).unwrap()).unwrap();

    for network in ["none", "user"] {
        home.banger("vm create --name x --network").args([network]).ok();
        // The probe is no VMM: it ends.
        home.banger("vm start x").fails_with(1).says("signal: 31");
        let dir = std::fs::read_dir(home.state().join("vms")).unwrap().next().unwrap().unwrap().path();
        let report = read(&dir.join("console.log"));
        check(&report, network);
        assert!(is_alive(victim.pid()));
        assert_eq!(std::fs::read_to_string(&secret).unwrap(), "secret");
        assert_eq!(secret.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        home.banger("vm delete x").ok();
    }
    // The user, by hand, is let in; and in a VM's directory, too.
    assert_eq!(http(&home.socket(), "GET /v1/vms", &[], "").status, 200);
}

/// The probe's lines by attempt.
fn read(log: &Path) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(log).unwrap();
    text.lines().filter_map(|line| line.split_once(": ").map(|(a, b)| (a.into(), b.into()))).collect()
}

fn check(report: &BTreeMap<String, String>, network: &str) {
    let mut wrong = Vec::new();
    let mut expect = |attempt: &str, expected: &[&str]| {
        let seen = report.get(attempt).map_or("not tried", String::as_str);
        if !expected.contains(&seen) {
            wrong.push(format!("{attempt}: {seen}, not {expected:?}"));
        }
    };
    BY_SECCOMP.iter().for_each(|attempt| expect(attempt, &["EPERM"]));
    let has_landlock = report.get("read a secret").is_some_and(|seen| seen == "EACCES");
    if has_landlock {
        BY_LANDLOCK.iter().for_each(|attempt| expect(attempt, &["EACCES"]));
        // The daemon writes them when a VM has come up.
        expect("read the handles", &["EACCES", "errno 2"]);
        expect("unlink outside", &["EACCES", "EPERM"]);
        expect("a socket outside", &["EACCES", "EPERM"]);
        expect("/dev/kvm", &["EACCES", "errno 2"]);
    } else {
        skipped("in part: this kernel has no landlock");
    }
    for missing in ["clone3", "x32"] {
        expect(missing, &["ENOSYS"]);
    }
    for works in ["write the disk", "a thread"] {
        expect(works, &["open"]);
    }
    expect("32-bit system call", &["trying"]);
    for unix in ["the daemon's API", "another daemon's API", "an abstract socket", "a Unix socket"] {
        expect(unix, &["EPERM"]);
    }
    // The guest's network is its gateway's affair.
    for internet in ["UDP", "TCP out", "TCP in"] {
        expect(internet, &["EPERM"]);
    }
    for (own, expected) in [
        ("CapInh", "0000000000000000"),
        ("CapPrm", "0000000000000000"),
        ("CapEff", "0000000000000000"),
        ("CapAmb", "0000000000000000"),
        ("NoNewPrivs", "1"),
        ("Seccomp", "2"),
        ("SigBlk", "0000000000000000"),
        ("Umask", "0077"),
        ("core limit", "0"),
        ("environment", "[\"PATH\"]"),
    ] {
        expect(&format!("own {own}"), &[expected]);
    }
    // Those that it was handed: where the agent, the monitor and the gateway are listened for.
    let handed = if network == "user" { 3 } else { 2 };
    let descriptors = report.get("own descriptors").map_or(0, |list| list.split(',').count());
    if descriptors != handed {
        wrong.push(format!("{:?} are open, not {handed}", report.get("own descriptors")));
    }
    assert!(wrong.is_empty(), "with network {network}:\n{}\nof {report:#?}", wrong.join("\n"));
}

/// The real one lacks nothing: both networks come up, and what holds is told.
#[test]
fn qemu_runs_within_it_and_doctor_says_so() {
    let home = Home::new();
    let doctor = home.banger("doctor").output();
    let line = doctor.text().lines().find(|line| line.contains("  sandbox  ")).unwrap_or_default().to_owned();
    assert!(line.starts_with("ok") && line.contains("a filter on system calls"), "{doctor}");
    home.banger("vm create --start --network none --name x").ok();
    let status = std::fs::read_to_string(format!("/proc/{}/status", home.vmm_pid("x"))).unwrap();
    for word in ["CapPrm:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"] {
        assert!(status.contains(word), "{status}");
    }
    assert_eq!(home.sh("x", "dd if=/dev/zero of=/var/f bs=1M count=64 2>/dev/null; sync; rm /var/f; fstrim / || true; echo done"), "done");
    home.banger("vm stop x").ok();
    assert_eq!(home.vm("x").last_error, None);
}

/// A wrapper around QEMU cannot work, and is said to be one.
#[test]
fn a_script_in_qemus_place_is_named() {
    let home = Home::new();
    let script = home.root().join("qemu.sh");
    std::fs::write(&script, "#!/bin/sh\nexec qemu-system-x86_64 \"$@\"\n").unwrap();
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    let config = home.root().join("config/banger/config.toml");
    let configured = std::fs::read_to_string(&config).unwrap();
    home.configure(&format!("qemu_bin = {:?}\n{configured}", script.to_str().unwrap()));
    home.banger("vm create --start --name x").fails_with(1).says("is a script");
}
