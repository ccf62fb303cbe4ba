//! VMs outlive the daemon.

use std::time::Duration;

use banger_api::vm::VmState;
use e2e::{Home, until};

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
