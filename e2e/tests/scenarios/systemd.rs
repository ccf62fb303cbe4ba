use std::time::Duration;

use e2e::{Home, eventually};

#[test]
fn a_systemd_guest_comes_up_whole_and_goes_down_clean() {
    let home = Home::golden();
    home.banger("vm create --start --memory 768M --name x").ok();
    // The agent answers while systemd is still at it.
    home.banger("exec x -- true").ok();
    let early = home.banger("exec x -- systemctl is-system-running").output().text();
    assert!(
        ["initializing", "starting", "offline", ""].contains(&&*early),
        "systemd had finished before: {early}"
    );
    assert_eq!(home.sh("x", "cat /proc/1/comm"), "systemd");
    assert_eq!(home.vm("x").guest_init.as_deref(), Some("/sbin/init"));

    // Before systemd listens, `--wait` does not wait.
    eventually("systemd has finished", Duration::from_secs(120), || {
        let state = home.banger("exec x -- systemctl is-system-running").output().text();
        ["running", "degraded"].contains(&&*state).then_some(())
    });
    assert_eq!(home.sh("x", "systemctl list-units --failed --plain --no-legend"), "");
    assert_eq!(home.sh("x", "hostname; df --output=target /root | tail -1"), "x\n/root");
    home.sh("x", "echo kept > /root/file; echo kept > /etc/file");

    let stop = home.banger("vm stop x").ok();
    assert!(!stop.err.contains("killed"), "{stop}");
    home.banger("vm start x").ok();
    assert_eq!(home.sh("x", "cat /root/file /etc/file"), "kept\nkept");
    assert_eq!(home.sh("x", "dmesg | grep -iE 'recover|orphan cleanup' || true"), "");

    // The guest's own commands do what they say.
    eventually("systemd takes an order", Duration::from_secs(60), || {
        (home.sh("x", "systemctl is-system-running || true") == "running").then_some(())
    });
    home.banger("exec x -- systemctl poweroff").output();
    home.wait_for_state("x", banger_api::vm::VmState::Stopped);
    assert_eq!(home.vm("x").last_error, None);
    home.banger("vm delete x").ok();
    home.assert_no_residue();
}

/// systemd would take a command that the kernel kills for a failure of all that runs beside it.
#[test]
fn a_command_that_runs_out_of_memory_takes_nobody_along() {
    let home = Home::new();
    // All of it has to be filled.
    home.banger("vm create --start --memory 512M --name x").ok();
    eventually("systemd has finished", Duration::from_secs(120), || {
        (home.sh("x", "systemctl is-system-running || true") == "running").then_some(())
    });
    let bystander = home.banger("exec x").sh("echo ready; sleep 20; echo fine").start();
    home.banger("exec x -- tail /dev/zero").limit(Duration::from_secs(300)).fails_with(137);
    let bystander = bystander.finish(Duration::from_secs(60));
    assert_eq!((bystander.code, bystander.text().as_str()), (0, "ready\nfine"), "{bystander}");
    home.banger("exec x -- true").ok();
}
