use std::time::{Duration, Instant};

use banger_api::vm::VmState;
use e2e::{Home, is_alive, until};
use rustix::process::Signal;

#[test]
fn a_guest_that_hangs_is_killed_after_its_grace() {
    let home = Home::new();
    home.boot("x");
    home.processes("qemu").iter().for_each(|qemu| qemu.signal(Signal::STOP));
    let stop = home.banger("vm stop --timeout 1 x").ok();
    stop.says("did not shut down within 1 s and was killed");
    assert!(stop.took < Duration::from_secs(5), "{stop}");
    assert_eq!(home.vm("x").state, VmState::Stopped);
    home.banger("vm delete x").ok();
    home.assert_no_residue();
}

#[test]
fn stop_kill_and_delete_cut_a_boot_short() {
    let home = Home::new();
    home.banger("vm create --name x").ok();
    for (verb, state) in [
        ("vm stop", Some(VmState::Stopped)),
        ("vm kill", Some(VmState::Stopped)),
        ("vm delete --force", None),
    ] {
        let start = home.banger("vm start x").start();
        until("QEMU runs", Duration::from_secs(20), || !home.processes("qemu").is_empty());
        let cut = home.banger(verb).args(["x"]).ok();
        assert!(cut.took < Duration::from_secs(3), "{cut}");
        let started = start.finish(Duration::from_secs(20));
        assert_ne!(started.code, 0, "{started}");
        match state {
            Some(state) => assert_eq!(home.vm("x").state, state),
            None => home.assert_no_residue(),
        }
    }
}

#[test]
fn guests_may_end_by_themselves() {
    let home = Home::new();
    home.boot("x");
    for (how, trigger) in [("powers off", "o"), ("panics", "c")] {
        let pid = home.vmm_pid("x");
        home.banger("exec x")
            .sh(&format!(
                "sync; echo 1 > /proc/sys/kernel/sysrq; echo {trigger} > /proc/sysrq-trigger; sleep 60"
            ))
            .output();
        until(&format!("a guest that {how} is stopped"), Duration::from_secs(20), || {
            home.vm("x").state == VmState::Stopped
        });
        until("QEMU is gone", Duration::from_secs(5), || !is_alive(pid));
        let again = home.banger("exec x -- true").fails_with(125);
        again.says("not running").says("banger vm start x");
        home.banger("vm start x").ok();
    }
    let log = home.banger("vm logs x").ok().text();
    assert!(!log.contains("Kernel panic"), "each boot has its log to itself: {log}");
}

#[test]
fn references_are_names_ids_and_beginnings_of_ids() {
    let home = Home::new();
    for name in ["one", "two"] {
        home.banger("vm create --name").args([name]).ok();
    }
    let (one, two) = (home.vm("one"), home.vm("two"));
    assert_eq!(home.vm(&one.id).spec.name, "one");
    assert_eq!(home.vm(&two.id[..6]).spec.name, "two");
    home.banger("vm show three").fails_with(3).says("three");
    home.banger("vm show").args([""]).fails_with(2).says("empty");

    // The good ones are served although there is a bad one, each once, in the order of asking.
    let shown = home.banger("vm show --json two nobody one two").args([&two.id]).fails_with(3);
    shown.says("nobody");
    let shown: Vec<banger_api::vm::Vm> = serde_json::from_slice(&shown.out).unwrap();
    assert_eq!(shown.iter().map(|vm| vm.spec.name.as_str()).collect::<Vec<_>>(), ["two", "one"]);

    // Enough of them, and two ids begin alike.
    let mut firsts: Vec<String> = vec![one.id[..1].into(), two.id[..1].into()];
    while firsts.iter().collect::<std::collections::BTreeSet<_>>().len() == firsts.len() {
        let name = home.banger("vm create").ok().text();
        firsts.push(home.vm(&name).id[..1].into());
    }
    let shared = firsts.last().unwrap();
    let ambiguous = home.banger("vm show").args([shared]).fails_with(2);
    for vm in home.vms().iter().filter(|vm| vm.id.starts_with(shared.as_str())) {
        ambiguous.says(&vm.spec.name);
    }
    let names: Vec<String> = home.vms().into_iter().map(|vm| vm.spec.name).collect();
    home.banger("vm delete").args(&names).ok();
    home.assert_no_residue();
}

#[test]
fn of_many_creates_of_one_name_one_wins() {
    let home = Home::new();
    let creates: Vec<_> = (0..6).map(|_| home.banger("vm create --name same").start()).collect();
    let codes: Vec<i32> =
        creates.into_iter().map(|create| create.finish(Duration::from_secs(60)).code).collect();
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 1, "{codes:?}");
    assert_eq!(codes.iter().filter(|code| **code == 4).count(), 5, "{codes:?}");
    assert_eq!(home.vms().len(), 1);
    home.banger("vm delete same").ok();
    home.assert_no_residue();
}

#[test]
fn nobody_waits_for_a_busy_vm() {
    let home = Home::new();
    home.boot("busy");
    home.processes("qemu").iter().for_each(|qemu| qemu.signal(Signal::STOP));
    let stop = home.banger("vm stop --timeout 6 busy").start();
    let start = Instant::now();
    until("it is stopping", Duration::from_secs(5), || home.vms()[0].state == VmState::Stopping);
    let list = home.banger("vm list --all").ok();
    assert!(list.took < Duration::from_millis(500), "{list}");
    home.banger("vm create --name other").ok();
    assert!(start.elapsed() < Duration::from_secs(4), "another VM had to wait");
    // A kill does not wait for the stop either.
    let kill = home.banger("vm kill busy").ok();
    assert!(kill.took < Duration::from_secs(2), "{kill}");
    assert_eq!(stop.finish(Duration::from_secs(20)).code, 0);
}
