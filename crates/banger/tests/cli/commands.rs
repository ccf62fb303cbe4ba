//! The real program against a fake daemon: what is asked, what is shown, what it ends with.

use crate::fake::{Daemon, World, vm};
use crate::program::{Finished, banger, signal};
use banger_api::Build;
use banger_api::vm::Lifetime;

pub(crate) fn two_vms() -> World {
    let mut world = World::default();
    for (id, name) in [("aaaaaaaaaaa1", "one"), ("aaaaaaaaaaa2", "two")] {
        world.vms.insert(id.into(), vm(id, name, Lifetime::Kept));
    }
    world
}

#[test]
fn run_keeps_streams_apart_ends_with_the_commands_code_and_deletes() {
    let daemon = Daemon::start(World::default());
    let done = banger(&daemon, &["vm", "run", "--rm", "--", "both"]).finish();
    assert_eq!((done.code, done.stdout.as_str()), (7, "out\n"));
    insta::assert_snapshot!(done.stderr, @r"
    spec: 2 vcpu, 1024 MiB, 8 GiB disk, debian-trixie, qemu
    boot
    err
    ");
    daemon.wait_for("the lease's end", |world| world.log.iter().any(|line| line.starts_with("lease ended")));
    let log = daemon.log();
    assert_eq!(log[0], "create brave-otter Leased");
    assert!(log[1].starts_with("delete ") && log[1].ends_with("force=true"), "{log:?}");
    assert_eq!(log[2], "lease ended, vm was gone");
}

#[test]
fn run_without_rm_tells_how_to_go_on() {
    let daemon = Daemon::start(World::default());
    let done = banger(&daemon, &["run", "--name", "x", "--", "both"]).finish();
    assert_eq!(done.code, 7);
    insta::assert_snapshot!(done.stderr, @r"
    spec: 2 vcpu, 1024 MiB, 8 GiB disk, debian-trixie, qemu
    boot
    err
    note: x is still running
      shell:    banger exec -it x
      command:  banger exec x -- CMD
      stop:     banger vm stop x
      delete:   banger vm delete x
    ");
    assert_eq!(daemon.log(), ["create x Kept"]);
}

#[test]
fn detached_run_and_create_print_the_name() {
    let daemon = Daemon::start(World::default());
    let done = banger(&daemon, &["run", "-q", "-d", "--rm", "--name", "x"]).finish();
    assert_eq!(done, Finished { code: 0, stdout: "x\n".into(), stderr: String::new() });
    let done = banger(&daemon, &["vm", "create", "-q", "--name", "y"]).finish();
    assert_eq!(done, Finished { code: 0, stdout: "y\n".into(), stderr: String::new() });
    assert_eq!(daemon.log(), ["create x UntilStopped", "create y Kept"]);
}

#[test]
fn a_run_that_banger_fails_ends_with_125() {
    let daemon = Daemon::start(two_vms());
    let done = banger(&daemon, &["run", "--name", "one"]).finish();
    assert_eq!((done.code, done.stderr.as_str()), (125, "error: there is a VM one already\n"));
    let done = banger(&daemon, &["run", "--memory", "lots"]).finish();
    assert_eq!(done.code, 125);
    assert!(done.stderr.contains("not a size"), "{}", done.stderr);
    let done = banger(&daemon, &["vm", "run", "--mode", "full", "--", "ls"]).finish();
    assert_eq!(done.code, 125);
    insta::assert_snapshot!(done.stderr, @r"
    error: there is no repository to copy
      help: name a directory in a git checkout: banger vm run PATH
    ");
    assert_eq!(banger(&daemon, &["run", "-d", "--", "ls"]).finish().code, 125);
    assert_eq!(banger(&daemon, &["vm", "create", "--memory", "lots"]).finish().code, 2);
    assert_eq!(daemon.log(), ["create one Kept"], "nothing else may have been asked for");
}

#[test]
fn ctrl_c_before_the_command_calls_everything_off() {
    let daemon = Daemon::start(World { boot_ms: 60_000, ..World::default() });
    let running = banger(&daemon, &["run", "--rm", "--", "both"]).start();
    daemon.wait_for("the create", |world| !world.log.is_empty());
    // It is told apart from a create that was never accepted by the line that follows the acceptance.
    running.wait_for_stderr("boot");
    signal(&running, 2);
    let done = running.finish();
    assert_eq!((done.code, done.stdout.as_str()), (130, ""));
    assert_eq!(daemon.log(), ["create brave-otter Leased", "cancel op-1", "undone"]);
}

#[test]
fn killing_the_client_ends_lease_and_command() {
    let daemon = Daemon::start(World::default());
    let running = banger(&daemon, &["run", "--rm", "--", "trap"]).start();
    daemon.wait_for("the command", |world| world.log.iter().any(|line| line == "trap ready"));
    signal(&running, 9);
    daemon.wait_for("the end of both", |world| {
        let has = |text: &str| world.log.iter().any(|line| line == text);
        has("command hung up on") && has("lease ended, vm removed")
    });
    running.finish();
}

#[test]
fn signals_reach_the_command() {
    let daemon = Daemon::start(two_vms());
    let running = banger(&daemon, &["exec", "one", "--", "trap"]).start();
    daemon.wait_for("the command", |world| world.log.iter().any(|line| line == "trap ready"));
    for (number, seen) in [(1, 1), (3, 2), (2, 3), (15, 4)] {
        signal(&running, number);
        daemon.wait_for("the signal", |world| world.signals.len() == seen);
    }
    assert_eq!(running.finish().code, 42);
    assert_eq!(daemon.world.lock().unwrap().signals, ["Hup", "Quit", "Int", "Term"]);
}

#[test]
fn two_ctrl_c_give_up_on_a_guest_that_is_silent() {
    let daemon = Daemon::start(two_vms());
    let running = banger(&daemon, &["exec", "one", "--", "trap"]).start();
    daemon.wait_for("the command", |world| world.log.iter().any(|line| line == "trap ready"));
    signal(&running, 2);
    daemon.wait_for("the first", |world| world.signals.len() == 1);
    signal(&running, 2);
    assert_eq!(running.finish().code, 130);
    daemon.wait_for("the hang-up", |world| world.log.iter().any(|line| line == "command hung up on"));
}

#[test]
fn a_hundred_megabytes_come_back_as_they_went() {
    let daemon = Daemon::start(two_vms());
    let sent: Vec<u8> =
        (0u32..25_000_000).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let got = banger(&daemon, &["exec", "one", "--", "cat"]).pipe(sent.clone());
    assert_eq!(got.len(), sent.len());
    assert!(got == sent, "the bytes differ");
}

#[test]
fn a_reader_that_leaves_ends_the_command_quietly() {
    let daemon = Daemon::start(two_vms());
    let leave = |command: &str| {
        let done = banger(&daemon, &["exec", "one", "--", command]).start().close_stdout().finish();
        (done.code, done.stderr)
    };
    assert_eq!(leave("yes"), (3, String::new()), "it has the last word");
    assert_eq!(leave("old-yes"), (141, String::new()), "an agent that does not know hangs up");
    daemon.wait_for("the hang-up", |world| world.log.iter().any(|line| line == "command hung up on"));
}

#[test]
fn what_cannot_be_run_and_what_breaks_is_told() {
    let daemon = Daemon::start(two_vms());
    let done = banger(&daemon, &["exec", "one", "--", "nosuch"]).finish();
    assert_eq!(done.code, 127);
    insta::assert_snapshot!(done.stderr, @r"
    error: could not run `nosuch` in one
      because: no such file or directory
    ");
    let done = banger(&daemon, &["exec", "one", "--", "crash"]).finish();
    assert_eq!(done.code, 125);
    insta::assert_snapshot!(done.stderr, @r"
    error: the connection to the command ended before the command did
      help: see what the guest says: banger vm logs one
    ");
    let done = banger(&daemon, &["exec", "none", "--", "crash"]).finish();
    assert_eq!(done.code, 125);
    insta::assert_snapshot!(done.stderr, @r"
    error: there is no VM none
      help: see them all: banger vm list --all
    ");
}

#[test]
fn a_daemon_that_dies_under_a_command_is_named() {
    let daemon = Daemon::start(World::default());
    let running = banger(&daemon, &["run", "--rm", "--", "trap"]).env("PATH", "/nowhere").start();
    daemon.wait_for("the command", |world| world.log.iter().any(|line| line == "trap ready"));
    let runtime_dir = daemon.crash();
    let done = running.finish();
    assert_eq!(done.code, 125);
    assert!(done.stderr.contains("because: bangerd is not running any more\n"), "{}", done.stderr);
    drop(runtime_dir);
}

#[test]
fn environment_and_directory_reach_the_command() {
    let daemon = Daemon::start(two_vms());
    let args = ["exec", "-e", "A=1", "-e", "HERE", "-e", "NOT_SET_ANYWHERE", "-w", "/tmp", "one", "spec"];
    let done = banger(&daemon, &args).env("HERE", "x y").finish();
    assert_eq!(done.stdout, "tty=false env=[(\"A\", \"1\"), (\"HERE\", \"x y\")] workdir=Some(\"/tmp\")\n");
}

#[test]
fn several_refs_are_one_each_in_order_and_bad_ones_do_not_stop_the_rest() {
    let daemon = Daemon::start(two_vms());
    let done = banger(&daemon, &["vm", "stop", "two", "none", "one", "aaaaaaaaaaa2", "two"]).finish();
    assert_eq!((done.code, done.stdout.as_str()), (3, "two\none\n"));
    insta::assert_snapshot!(done.stderr, @r"
    note: two did not shut down within 20 s and was killed
    error: there is no VM none
      help: see them all: banger vm list --all
    ");
    let mut log = daemon.log();
    log.sort();
    assert_eq!(log, ["stop aaaaaaaaaaa1", "stop aaaaaaaaaaa2"]);
}

#[test]
fn listings_have_a_table_json_and_names() {
    let daemon = Daemon::start(two_vms());
    assert_eq!(banger(&daemon, &["ps", "-q"]).finish().stdout, "one\ntwo\n");
    assert!(banger(&daemon, &["ps"]).finish().stdout.starts_with("NAME   STATE     IMAGE"));
    let json = banger(&daemon, &["vm", "list", "--json"]).finish().stdout;
    let vms: Vec<banger_api::vm::Vm> = serde_json::from_str(&json).unwrap();
    assert_eq!(vms[1].spec.name, "two");
    let json = banger(&daemon, &["vm", "show", "--json", "one"]).finish().stdout;
    assert_eq!(serde_json::from_str::<banger_api::vm::Vm>(&json).unwrap().id, "aaaaaaaaaaa1");
}

#[test]
fn logs_into_a_pipe_are_the_bytes_of_the_guest() {
    let daemon = Daemon::start(two_vms());
    assert_eq!(banger(&daemon, &["vm", "logs", "one"]).finish().stdout, "console\x1b[2J of the guest\n");
}

#[test]
fn a_busy_daemon_of_another_build_is_left_alone() {
    let build = Some(Build { version: "0.0.9".into(), commit: "abc".into() });
    let daemon = Daemon::start(World { build, busy: true, ..two_vms() });
    let done = banger(&daemon, &["ps"]).finish();
    assert_eq!(done.code, 4);
    assert!(
        done.stderr.starts_with("error: bangerd 0.0.9 (abc) is running and busy; this is banger"),
        "{}",
        done.stderr
    );
    assert!(done.stderr.contains("because: 1 command would be cut off\n"), "{}", done.stderr);
    assert!(done.stderr.contains("banger daemon stop"), "{}", done.stderr);
    assert_eq!(daemon.log(), ["stop if_idle=true"]);
}

#[test]
fn the_daemon_can_be_asked_and_stopped() {
    let daemon = Daemon::start(two_vms());
    assert!(banger(&daemon, &["daemon", "status"]).finish().stdout.contains("up:           1m 1s\n"));
    let done = banger(&daemon, &["daemon", "stop"]).finish();
    assert_eq!((done.code, done.stdout.as_str()), (0, "bangerd stopped\n"));
    let done = banger(&daemon, &["daemon", "status"]).finish();
    assert_eq!((done.code, done.stdout.as_str()), (3, ""));
    assert!(done.stderr.starts_with("error: bangerd is not running\n"));
}
