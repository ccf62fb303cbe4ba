//! How the program starts a daemon: with a shell script in bangerd's place.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::fake::{Daemon, World};
use crate::program::program;

/// A copy of banger with `script` as the bangerd beside it.
fn beside(script: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let banger = dir.path().join("banger");
    std::fs::copy(env!("CARGO_BIN_EXE_banger"), &banger).unwrap();
    let bangerd = dir.path().join("bangerd");
    std::fs::write(&bangerd, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&bangerd, std::fs::Permissions::from_mode(0o755)).unwrap();
    (dir, banger)
}

fn runtime_dir() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    crate::fake::make_socket_dir(dir.path());
    dir
}

#[test]
fn why_it_did_not_start_is_told_in_its_own_words() {
    let json = r#"{"code":"usage","message":"unknown key `vcpus`","causes":["config.toml:2:1"],"hint":"did you mean `vcpu`?"}"#;
    let (_dir, banger) = beside(&format!("echo '{json}' >&2; exit 2"));
    let done = program(&banger, runtime_dir().path(), &["ps"]).finish();
    assert_eq!(done.code, 2);
    insta::assert_snapshot!(done.stderr, @r"
    error: unknown key `vcpus`
      because: config.toml:2:1
      help: did you mean `vcpu`?
    ");
    let (_dir, banger) = beside("echo 'disk full' >&2; exit 1");
    let done = program(&banger, runtime_dir().path(), &["run", "--", "true"]).finish();
    assert_eq!(done.code, 125);
    assert_eq!(done.stderr, "error: bangerd could not start\n  because: disk full\n");
}

#[test]
fn it_is_started_in_a_session_of_its_own_and_waited_for() {
    let runtime = runtime_dir();
    let seen = runtime.path().join("seen");
    // Field 6 of stat is the session. The socket of a real (fake) daemon takes the place of the one that it
    // would open.
    let script = format!(
        "set -- $(cat /proc/$$/stat); echo $1 $6 > {seen}.new; mv {seen}.new {seen}; exec sleep 5",
        seen = seen.display()
    );
    let (_dir, banger) = beside(&script);
    let running = program(&banger, runtime.path(), &["ps", "-q"]).start();
    wait_for(&seen);
    let daemon = Daemon::start(World::default());
    let _lock = crate::fake::hold(runtime.path(), &daemon.runtime_dir.path().join("banger/bangerd.sock"));
    let done = running.finish();
    assert_eq!((done.code, done.stderr.as_str()), (0, ""));
    let seen = std::fs::read_to_string(seen).unwrap();
    let (pid, session) = seen.trim().split_once(' ').unwrap();
    assert_eq!(pid, session);
    let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
}

fn wait_for(path: &Path) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    while !path.exists() {
        assert!(std::time::Instant::now() < deadline, "no {}", path.display());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn a_socket_that_a_dead_daemon_left_does_not_count() {
    let runtime = runtime_dir();
    let socket = runtime.path().join("banger/bangerd.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    drop(crate::fake::hold(runtime.path(), &socket));
    let (_dir, banger) = beside("echo started >&2; exit 1");
    let done = program(&banger, runtime.path(), &["ps"]).finish();
    assert!(done.stderr.contains("because: started"), "{}", done.stderr);
}

#[test]
fn a_missing_bangerd_says_where_it_was_looked_for() {
    let dir = tempfile::tempdir().unwrap();
    let banger = dir.path().join("banger");
    std::fs::copy(env!("CARGO_BIN_EXE_banger"), &banger).unwrap();
    let done = program(&banger, runtime_dir().path(), &["ps"]).env("PATH", "/nowhere").finish();
    assert_eq!(done.code, 5);
    assert!(done.stderr.starts_with("error: bangerd was found neither beside "), "{}", done.stderr);
    assert!(done.stderr.contains("help: "), "{}", done.stderr);
}

/// A daemon that holds its state directory and says nothing.
#[test]
fn a_daemon_that_does_not_answer_is_named_within_seconds() {
    let runtime = runtime_dir();
    let socket = runtime.path().join("banger/bangerd.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let _lock = crate::fake::hold(runtime.path(), &socket);
    let (_dir, banger) = beside("echo '{\"checks\":[]}'");
    let begun = std::time::Instant::now();
    let commands =
        [&["ps"][..], &["daemon", "stop"], &["daemon", "status"], &["doctor"], &["run", "--", "true"]];
    let running = commands.map(|args| (args, program(&banger, runtime.path(), args).start()));
    for (args, running) in running {
        let done = running.finish();
        let code = if args[0] == "run" { 125 } else { 5 };
        let said = format!("{}{}", done.stdout, done.stderr);
        assert!(said.contains("bangerd (pid 1) does not answer"), "{args:?}: {said}");
        assert!(said.contains("banger daemon stop --force"), "{args:?}: {said}");
        assert_eq!(done.code, code, "{args:?}: {said}");
    }
    assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{:?}", begun.elapsed());
}

/// What listens in a runtime directory is not asked: another state directory has another daemon.
#[test]
fn a_daemon_of_another_state_directory_is_not_met() {
    let daemon = Daemon::start(World::default());
    let args = ["daemon", "status"];
    let home = tempfile::tempdir().unwrap();
    let runtime = daemon.runtime_dir.path().to_owned();
    let done = program(env!("CARGO_BIN_EXE_banger").as_ref(), home.path(), &args)
        .env("XDG_RUNTIME_DIR", &runtime)
        .finish();
    assert!(done.stderr.contains("bangerd is not running"), "{}", done.stderr);
    // And the other way round: its own is found from anywhere.
    let done = program(env!("CARGO_BIN_EXE_banger").as_ref(), &runtime, &args)
        .env("XDG_RUNTIME_DIR", "/nonexistent")
        .finish();
    assert_eq!(done.code, 0, "{}", done.stderr);
}

#[test]
fn an_image_in_the_place_of_a_directory_is_understood_and_an_empty_name_is_none() {
    let daemon = Daemon::start(World::default());
    let done = crate::program::banger(&daemon, &["run", "alpine:3.20"]).finish();
    assert_eq!(done.code, 125);
    assert!(done.stderr.contains("banger run --image alpine:3.20"), "{}", done.stderr);
    for args in [&["show", ""][..], &["vm", "delete", ""], &["image", "show", ""], &["kernel", "delete", ""]]
    {
        let done = crate::program::banger(&daemon, args).finish();
        assert_eq!(done.code, 2, "{args:?}: {}", done.stderr);
        assert!(done.stderr.contains("is empty"), "{args:?}: {}", done.stderr);
    }
    assert!(daemon.log().is_empty(), "{:?}", daemon.log());
}

#[test]
fn doctor_works_without_a_daemon_and_fails_with_5() {
    let report = r#"{"checks":[{"name":"qemu","verdict":"fail","seen":"not found","fix":"sudo apt install qemu-system-x86"}]}"#;
    let (_dir, banger) = beside(&format!("[ \"$*\" = 'doctor --json' ] && echo '{report}'; exit 5"));
    let done = program(&banger, runtime_dir().path(), &["doctor"]).finish();
    assert_eq!(done.code, 5);
    insta::assert_snapshot!(done.stdout, @r"
    fail  qemu    not found
                  fix: sudo apt install qemu-system-x86
    ok    daemon  not running; the next command that needs it starts it
    ");
}

#[test]
fn help_tells_this_hosts_defaults() {
    let values = r#"[{"key":"default_image","value":"\"i\"","origin":"builtin"},{"key":"default_kernel","value":"\"k\"","origin":"builtin"},
        {"key":"vm_defaults.vcpu","value":"3","origin":"auto"},{"key":"vm_defaults.memory_mib","value":"700","origin":"auto"},
        {"key":"vm_defaults.disk_size","value":"\"8G\"","origin":"builtin"}]"#;
    let (_dir, banger) = beside(&format!("echo '{{\"path\":\"/p\",\"exists\":false,\"values\":{values}}}'"));
    for args in
        [&["run", "--help"][..], &["vm", "run", "-h"], &["vm", "create", "--help"], &["help", "vm", "run"]]
    {
        let done = program(&banger, runtime_dir().path(), args).finish();
        assert_eq!(done.code, 0, "{args:?}");
        let words = done.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            words.contains("3 vcpu, 700 MiB, 8 GiB disk, image i, kernel k"),
            "{args:?}: {}",
            done.stdout
        );
    }
}

#[test]
fn what_needs_no_daemon_starts_none() {
    let (dir, banger) = beside("touch \"$(dirname \"$0\")/started\"; exit 1");
    for args in
        [&["version"][..], &["completion", "bash"], &["daemon", "status"], &["daemon", "stop"], &["--help"]]
    {
        program(&banger, runtime_dir().path(), args).finish();
    }
    assert!(!dir.path().join("started").exists());
}
