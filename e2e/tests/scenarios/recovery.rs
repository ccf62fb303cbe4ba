//! VMs outlive the daemon.

use std::time::Duration;

use banger_api::vm::VmState;
use e2e::{Home, Seed, until};

#[test]
fn a_killed_daemon_loses_no_vm() {
    let home = Home::new();
    home.boot("x");
    let pid = home.vmm_pid("x");
    home.sh("x", "echo kept > /root/file");
    for _ in 0..3 {
        home.kill_daemon();
        assert_eq!(home.sh("x", "cat /root/file"), "kept");
        assert_eq!((home.vmm_pid("x"), home.vm("x").state), (pid, VmState::Running));
    }
    home.banger("daemon stop").ok();
    assert_eq!(home.sh("x", "cat /root/file"), "kept");
    home.banger("vm stop x").ok();
    home.kill_daemon();
    assert_eq!(home.vm("x").state, VmState::Stopped);
    home.banger("vm delete x").ok();
    home.assert_no_residue();
}

#[test]
fn a_daemon_killed_in_the_middle_of_a_transfer_loses_no_vm() {
    let home = Home::new();
    home.boot("x");
    for _ in 0..3 {
        let out = home.banger("exec x").sh("cat /dev/zero").start();
        let mut through = home.banger("exec x -- cat").stdin("").start();
        through.write(&vec![7; 300_000]);
        until("bytes flow", Duration::from_secs(20), || {
            out.out_len() > 1_000_000 && through.out_len() > 100_000
        });
        home.kill_daemon();
        for cut in [out, through] {
            let cut = cut.finish(Duration::from_secs(30));
            assert_eq!(cut.code, 125, "{cut}");
        }
        assert_eq!(home.sh("x", "echo back"), "back");
        // The guest learns of the cut on its own time.
        until("the commands of the cut sessions have ended", Duration::from_secs(10), || {
            home.sh("x", "grep -lx cat /proc/[0-9]*/comm || true").is_empty()
        });
    }
}

#[test]
fn a_vm_that_ended_while_no_daemon_looked_is_stopped() {
    let home = Home::new();
    home.boot("x");
    let pid = home.vmm_pid("x");
    home.banger("daemon stop").ok();
    assert!(e2e::is_alive(pid));
    for process in home.processes("qemu") {
        process.signal(rustix::process::Signal::KILL);
    }
    until("QEMU is dead", Duration::from_secs(5), || !e2e::is_alive(pid));
    assert_eq!(home.vm("x").state, VmState::Stopped);
    home.banger("vm start x").ok();
    assert_eq!(home.sh("x", "echo again"), "again");
}

/// When the daemon is killed.
#[derive(Debug)]
enum Instant {
    /// The start has said so.
    Says(&'static str),
    /// It is in the VM's directory.
    File(&'static str),
    /// It is in `handles.json`.
    Noted(&'static str),
}

/// The file of the user's that every start copies, as the guest has it.
const SYNCED: &str = "/root/synced";

#[test]
fn a_start_that_the_daemon_does_not_survive_is_completed_or_undone() {
    let home = Home::new();
    let image = Seed::Minimal.image();
    std::fs::write(home.root().join("synced"), "host").unwrap();
    home.configure(&format!(
        "default_image = \"{image}\"\n[vm_defaults]\nvcpu = 1\nmemory_mib = 384\ndisk_size = \"256MiB\"\n\
         [[file_sync]]\nhost = \"~/synced\"\nguest = \"{SYNCED}\"\n"
    ));
    home.boot("x");
    let acceleration = home.vm("x").acceleration;
    let dir = home.state().join("vms").join(home.vm("x").id);
    let noted = |text: &str| {
        std::fs::read_to_string(dir.join("handles.json")).is_ok_and(|handles| handles.contains(text))
    };
    let (mut came_up, mut last) = (0, VmState::Stopped);
    // A start goes through these, in this order: what it says, or what it has written down, and how long
    // after.
    for (instant, later_ms) in [
        (Instant::File("agent.sock"), 0),
        (Instant::Says("booting"), 500),
        (Instant::Says("mounting the root"), 0),
        (Instant::Says("mounting the root"), 100),
        (Instant::Says("mounting the root"), 200),
        (Instant::Says("copying 1 files"), 0),
        (Instant::Says("copying 1 files"), 100),
        (Instant::Noted("\"came_up\": true"), 0),
    ] {
        home.banger("vm kill x").ok();
        let mut starting = home.banger("vm start x").start();
        match instant {
            Instant::Says(text) => starting.wait_for_stderr(text),
            Instant::File(name) => {
                until(name, Duration::from_secs(60), || dir.join(name).exists());
            }
            Instant::Noted(text) => until(text, Duration::from_secs(60), || noted(text)),
        }
        std::thread::sleep(Duration::from_millis(later_ms));
        home.kill_daemon();
        let _cut_off_or_just_done = starting.finish(Duration::from_secs(60));
        until("it is up or stopped", Duration::from_secs(90), || {
            matches!(home.vm("x").state, VmState::Running | VmState::Stopped)
        });
        let vm = home.vm("x");
        last = vm.state;
        if vm.state == VmState::Stopped {
            assert!(home.processes("qemu").is_empty(), "{instant:?}: stopped, and its VMM runs");
            continue;
        }
        came_up += 1;
        assert_eq!(vm.acceleration, acceleration, "{instant:?}");
        home.sh("x", &format!("echo guest > {SYNCED}"));
        home.kill_daemon();
        assert_eq!(home.sh("x", &format!("cat {SYNCED}")), "guest", "{instant:?}: copied once more");
    }
    assert_eq!(last, VmState::Running, "one that was noted as up");
    assert!(came_up > 1, "some of the instants are behind `Configure`");
    home.banger("vm delete --force x").ok();
    home.assert_no_residue();
}
