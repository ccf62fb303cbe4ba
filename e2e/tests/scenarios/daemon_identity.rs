//! The state directory decides which daemon is meant; the daemon stays to be found, and brings nothing of its
//! starter's.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use banger_api::daemon::DaemonStatus;
use banger_api::vm::VmState;
use e2e::{Home, Run, http, is_alive, until};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};

#[track_caller]
fn status(run: Run<'_>) -> DaemonStatus {
    let status = run.ok();
    serde_json::from_slice(&status.out).unwrap_or_else(|error| panic!("{error} in {status}"))
}

fn send(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid as i32).unwrap(), signal).unwrap();
}

#[test]
fn a_daemon_stays_to_be_found() {
    let home = Home::new();
    home.boot("x");
    let (pid, vmm) = (home.daemon().pid, home.vmm_pid("x"));
    let mut stream = home.banger("exec x").sh("while read l; do echo got $l; done").start();
    stream.write(b"a\n");
    stream.wait_for("got a");
    // From cron, after su, in another session.
    for runtime in ["", "/nonexistent/run", "/proc"] {
        assert_eq!(status(home.banger("daemon status --json").env("XDG_RUNTIME_DIR", runtime)).pid, pid);
    }
    for lost in [home.socket(), home.root().join("run/banger"), home.root().join("run")] {
        if lost.is_dir() {
            fs::remove_dir_all(&lost).unwrap()
        } else {
            fs::remove_file(&lost).unwrap()
        }
        let begun = Instant::now();
        home.banger("vm list").ok();
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?} after {}", begun.elapsed(), lost.display());
        assert_eq!(home.daemon().pid, pid, "after {}", lost.display());
    }
    until("the usual socket is back", Duration::from_secs(5), || home.socket().exists());
    // The runtime directory cannot be had any more: as for a user who has logged out.
    fs::remove_dir_all(home.root().join("run")).unwrap();
    fs::write(home.root().join("run"), "").unwrap();
    let elsewhere = home.daemon();
    assert_eq!(elsewhere.pid, pid);
    assert_ne!(Path::new(&elsewhere.socket), home.socket());
    fs::remove_file(home.root().join("run")).unwrap();
    fs::remove_file(home.state().join("bangerd.lock")).unwrap();
    home.banger("vm list").ok();
    assert_eq!((home.daemon().pid, home.processes("bangerd serve").len()), (pid, 1));
    stream.write(b"b\n");
    stream.wait_for("got b");

    // A second one is refused at once.
    let begun = Instant::now();
    let refused = home.program(home.programs().path("bangerd")).args(["serve"]).fails_with(4);
    refused.says(&format!("another bangerd (pid {pid}) runs already"));
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());

    // Hung.
    send(pid, Signal::STOP);
    for words in ["vm list", "daemon stop", "daemon status", "doctor", "vm stop x"] {
        let begun = Instant::now();
        let status = home.banger(words).fails_with(5);
        let said = format!("{}{}", status.text(), status.err);
        assert!(said.contains(&format!("bangerd (pid {pid}) does not answer")), "{status}");
        assert!(begun.elapsed() < Duration::from_secs(25), "{:?} for {words}", begun.elapsed());
    }
    home.banger("daemon logs").ok();
    home.banger("daemon stop --force").ok();
    assert!(!is_alive(pid) && is_alive(vmm));
    assert_eq!(stream.finish(Duration::from_secs(20)).code, 125);
    assert_eq!((home.sh("x", "echo on"), home.vmm_pid("x")), ("on".to_owned(), vmm));

    // The state directory goes away, and comes back.
    let (pid, aside) = (home.daemon().pid, home.root().join("aside"));
    fs::rename(home.state(), &aside).unwrap();
    until("the daemon ends", Duration::from_secs(10), || !is_alive(pid));
    assert!(is_alive(vmm) && !home.state().exists());
    fs::rename(&aside, home.state()).unwrap();
    assert_eq!((home.sh("x", "echo on"), home.vmm_pid("x")), ("on".to_owned(), vmm));

    // The same of a VM's own directory, while no daemon looks.
    let dir = home.state().join("vms").join(home.vm("x").id);
    for back in ["seen", "started", "deleted"] {
        home.kill_daemon();
        fs::rename(&dir, &aside).unwrap();
        home.wait_for_state("x", VmState::Broken);
        assert!(home.banger("doctor").output().text().contains("is gone"));
        fs::rename(&aside, &dir).unwrap();
        match back {
            "seen" => home.wait_for_state("x", VmState::Running),
            "started" => drop(home.banger("vm start x").ok()),
            _ => drop(home.banger("rm --force x").ok()),
        }
        assert_eq!(is_alive(vmm), back != "deleted", "{back}");
    }
    home.assert_no_residue();
}

#[test]
fn two_state_directories_in_one_runtime_directory_never_meet() {
    let home = Home::bare();
    let other = home.root().join("other");
    let of_other = |words: &str| home.banger(words).env("XDG_STATE_HOME", &other);
    home.banger("daemon start").ok();
    of_other("daemon start").ok();
    let (first, second) = (home.daemon(), status(of_other("daemon status --json")));
    assert_ne!((first.pid, &first.socket), (second.pid, &second.socket));
    assert_eq!(Path::new(&first.state_dir), home.state());
    assert_eq!(Path::new(&second.state_dir), other.join("banger"));
    // One directory, whatever leads to it.
    std::os::unix::fs::symlink(&other, home.root().join("link")).unwrap();
    let by_link = home.banger("daemon status --json").env("XDG_STATE_HOME", home.root().join("link"));
    assert_eq!(status(by_link).pid, second.pid);
    // One takes the place that the other has left, on purpose or not: what is written down of it is not
    // believed.
    home.banger("daemon stop").ok();
    for left in ["stopped", "killed"] {
        of_other("daemon stop").ok();
        of_other("daemon start").ok();
        assert_eq!(status(of_other("daemon status --json")).socket, first.socket, "{left}");
        home.banger("daemon status --json").output().says("not running");
        home.banger("daemon start").ok();
        assert_eq!(Path::new(&home.daemon().state_dir), home.state(), "{left}");
        of_other("daemon stop").ok();
        home.banger("daemon stop").ok();
        home.banger("daemon start").ok();
        of_other("daemon start").ok();
        home.kill_daemon();
    }
    of_other("daemon stop").ok();
    // A copy of a state directory whose daemon runs is another one.
    home.banger("daemon start").ok();
    let copy = home.root().join("copy");
    fs::create_dir(&copy).unwrap();
    home.program("cp").args(["-a"]).args([home.state(), copy.join("banger")]).ok();
    let of_copy = |words: &str| home.banger(words).env("XDG_STATE_HOME", &copy);
    of_copy("daemon start").ok();
    assert_eq!(Path::new(&status(of_copy("daemon status --json")).state_dir), copy.join("banger"));
    of_copy("daemon stop").ok();
    // Nor does the daemon of one answer who means the other.
    let answer = http(Path::new(&home.daemon().socket), "GET /v1/vms", &[("banger-state", "1-2")], "");
    assert_eq!(answer.status, 421);
    home.banger("daemon stop").ok();
    let starts: Vec<_> = (0..4).map(|_| home.banger("daemon start").start()).collect();
    for start in starts {
        let start = start.finish(Duration::from_secs(30));
        assert_eq!(start.code, 0, "{start}");
    }
    until("one is left", Duration::from_secs(8), || home.processes("bangerd serve").len() == 1);
}

#[test]
fn a_daemon_begins_clean_and_makes_nothing_that_others_may_read() {
    let home = Home::new();
    let held = home.root().join("held");
    let rough = format!(
        "exec 9>{}; flock 9; umask 000; ulimit -S -n 200; ulimit -S -f 100; trap '' INT HUP; exec \"$@\"",
        held.display()
    );
    let started = home.banger("vm create --start --name x").under(&["sh", "-c", &rough, "sh"]);
    started.env("SECRET", "hunter2").env("LC_TIME", "C.UTF-8").env("http_proxy", "http://u:hunter2@p").ok();
    let daemon = home.daemon();
    let vmm = home.vmm_pid("x");
    let file = File::open(&held).unwrap();
    flock(&file, FlockOperation::NonBlockingLockExclusive).expect("nobody keeps the caller's lock");
    for pid in [daemon.pid, vmm] {
        let proc = PathBuf::from(format!("/proc/{pid}"));
        let environment = fs::read(proc.join("environ")).unwrap();
        assert!(!String::from_utf8_lossy(&environment).contains("hunter2"));
        let about = fs::read_to_string(proc.join("status")).unwrap();
        let field =
            |name: &str| about.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
        assert_eq!(field("Umask:"), "0077");
        // HUP and INT.
        assert_eq!(u64::from_str_radix(&field("SigIgn:"), 16).unwrap() & 0b11, 0, "{about}");
        let limits = fs::read_to_string(proc.join("limits")).unwrap();
        let soft = |name: &str| {
            let line = limits.lines().find(|line| line.starts_with(name)).unwrap();
            line[name.len()..].split_whitespace().next().unwrap().to_owned()
        };
        // A VMM has one of its own, as large as its largest disk (docs/decisions/0018).
        let file_bytes = soft("Max file size");
        let fits_a_disk = file_bytes.parse::<u64>().is_ok_and(|bytes| bytes > 256 << 20);
        assert!(file_bytes == "unlimited" || (pid == vmm && fits_a_disk), "{limits}");
        assert!(soft("Max open files").parse::<u64>().unwrap() > 200, "{limits}");
        let open =
            fs::read_dir(proc.join("fd")).unwrap().flatten().filter_map(|fd| fs::read_link(fd.path()).ok());
        assert!(!open.collect::<Vec<_>>().contains(&held));
    }
    assert!(daemon.environment.contains(&"LC_TIME".into()), "{daemon:?}");
    for name in &daemon.environment {
        assert!(banger_api::environment::is_kept_by_daemon(OsStr::new(name)), "{name}");
    }
    assert_eq!(fs::read_link(format!("/proc/{}/cwd", daemon.pid)).unwrap(), Path::new("/"));
    // What the seed planted is the harness's.
    let planted = ["images", "kernels", "banger.db", "banger.db-wal", "banger.db-shm"]
        .map(|name| home.state().join(name));
    for dir in ["state", "cache", "run"].map(|name| home.root().join(name).join("banger")) {
        let mut found = vec![dir];
        while let Some(path) = found.pop() {
            if planted.contains(&path) {
                continue;
            }
            let Ok(about) = path.symlink_metadata() else { continue };
            assert!(about.mode() & 0o077 == 0 || about.is_symlink(), "{:o} {}", about.mode(), path.display());
            if about.is_dir() {
                found.extend(fs::read_dir(&path).unwrap().flatten().map(|entry| entry.path()));
            }
        }
    }
    // A limit that cannot be raised is told.
    home.banger("daemon stop").ok();
    home.banger("daemon start").under(&["sh", "-c", "ulimit -f 1000000; exec \"$@\"", "sh"]).ok();
    let limits = home.daemon().limits;
    assert!(limits.iter().any(|limit| limit.starts_with("file size: ")), "{limits:?}");
    home.banger("rm -f x").ok();
}

#[test]
fn paths_may_be_long_and_of_any_bytes() {
    let home = Home::new();
    let odd = OsString::from_vec(b"s t,a=%t'\"e\n\\\xff".to_vec());
    let state = home.root().join(odd);
    fs::rename(home.root().join("state"), &state).unwrap();
    let runtime = home.root().join("r".repeat(150));
    let banger =
        |words: &str| home.banger(words).env("XDG_STATE_HOME", &state).env("XDG_RUNTIME_DIR", &runtime);
    banger("vm create --start --name x").ok();
    assert_eq!(banger("exec x -- echo hi").ok().text(), "hi");
    let status = status(banger("daemon status --json"));
    assert!(status.socket.len() < 108 && status.state_dir.contains("s t,a=%t'\"e"), "{status:?}");
    banger("daemon stop").ok();
    assert_eq!(banger("exec x -- echo still").ok().text(), "still");
    banger("rm -f x").ok();
    assert!(fs::read_dir(state.join("banger/vms")).unwrap().next().is_none());
    banger("daemon stop").ok();
}
