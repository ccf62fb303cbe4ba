//! What is lost, damaged or of another day in the state directory: nothing else is lost with it, and the next
//! command works or says what to do.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use banger_api::lost_found::LostThing;
use banger_api::vm::VmState;
use e2e::{Home, is_alive, until};
use rustix::process::Signal;

/// The store's files.
fn store(home: &Home) -> Vec<PathBuf> {
    ["", "-wal", "-shm"].map(|suffix| home.state().join(format!("banger.db{suffix}"))).to_vec()
}

fn remove_store(home: &Home) {
    // The last two are not always there.
    store(home).iter().for_each(|file| drop(fs::remove_file(file)));
}

#[test]
fn a_lost_an_empty_and_an_older_store_lose_no_vm_and_no_image() {
    let home = Home::new();
    home.boot("x");
    home.sh("x", "echo kept > /root/file; sync");
    home.banger("daemon stop").ok();
    let older = fs::read(home.state().join("banger.db")).unwrap();
    home.banger("vm create --name y").ok();
    let (before, pid) = (home.vms(), home.vmm_pid("x"));
    let losses: [(&str, &dyn Fn()); 3] = [
        ("lost", &|| remove_store(&home)),
        ("empty", &|| {
            remove_store(&home);
            fs::write(home.state().join("banger.db"), "").unwrap();
        }),
        ("older", &|| {
            remove_store(&home);
            fs::write(home.state().join("banger.db"), &older).unwrap();
        }),
    ];
    for (what, lose) in losses {
        home.kill_daemon();
        lose();
        let now = home.vms();
        assert_eq!(now.len(), 2, "{what}: {now:?}");
        for vm in &before {
            let back =
                now.iter().find(|back| back.id == vm.id).unwrap_or_else(|| panic!("{what}: no {}", vm.id));
            assert_eq!((&back.spec, back.state), (&vm.spec, vm.state), "{what}");
        }
        assert_eq!((home.sh("x", "cat /root/file").as_str(), home.vmm_pid("x")), ("kept", pid), "{what}");
        assert_eq!(home.half_made(), Vec::<String>::new(), "{what}");
        assert_eq!(home.banger("lost-found list").ok().text().lines().count(), 1, "{what}");
    }
    home.banger("vm start y").ok();
    home.banger("vm stop x y").ok();
    home.banger("vm start x").ok();
    assert_eq!(home.sh("x", "cat /root/file"), "kept");
    home.banger("vm delete --force x y").ok();
    home.assert_no_residue();
}

#[test]
fn a_damaged_store_is_set_aside_and_rebuilt_by_the_doctor() {
    let home = Home::new();
    home.banger("vm create --name y").ok();
    home.banger("daemon stop").ok();
    for damage in ["damaged", "newer"] {
        match damage {
            "damaged" => {
                remove_store(&home);
                fs::write(home.state().join("banger.db"), "no database ".repeat(5000)).unwrap();
            }
            _ => {
                let store = rusqlite::Connection::open(home.state().join("banger.db")).unwrap();
                store.pragma_update(None, "user_version", 999).unwrap();
            }
        }
        home.banger("vm list --all").fails_with(5).says("state store");
        let doctor = home.banger("doctor").fails_with(5);
        let repair = home.banger("doctor --repair").output();
        if damage == "damaged" {
            let text = doctor.text();
            assert!(text.contains("doctor --repair") && text.contains("the last good copy is"), "{text}");
            assert_eq!(repair.code, 0, "{repair}");
            assert!(repair.text().contains("known again: y; 1 images, 1 kernels"), "{repair}");
            assert_eq!(home.vms()[0].spec.name, "y");
            home.banger("doctor --repair").fails_with(4).says("banger daemon stop");
            home.banger("daemon stop").ok();
            nothing_explains_it_and_the_user_does(&home);
            home.banger("vm start").args([format!("vm-{}", home.vms()[0].id)]).ok();
            home.banger("vm stop").args([&home.vms()[0].id]).ok();
            home.banger("daemon stop").ok();
        } else {
            assert!(doctor.text().contains("newer banger"), "{doctor}");
            assert_eq!(repair.code, 4, "{repair}");
            repair.says("newer banger");
        }
    }
    let copies = fs::read_dir(home.state().join("backups")).unwrap().count();
    assert!((1..=3).contains(&copies), "{copies} copies of the store");
}

/// Without its record as well, a VM is nobody's: kept, and brought back by whoever knows its image.
fn nothing_explains_it_and_the_user_does(home: &Home) {
    let dir = home.state().join("vms").join(&home.vms()[0].id);
    home.kill_daemon();
    remove_store(home);
    fs::remove_file(dir.join("vm.json")).unwrap();
    assert!(home.vms().is_empty());
    assert!(home.banger("doctor").output().text().contains("banger lost-found restore NAME"));
    let listed = home.banger("lost-found list --json").ok();
    let found: Vec<LostThing> = serde_json::from_slice(&listed.out).unwrap();
    assert_eq!((found.len(), found[0].kind.as_deref()), (2, Some("store")), "{found:?}");
    let name = &found[1].name;
    home.banger("lost-found restore").args([name]).fails_with(4).says("--image");
    home.banger("lost-found restore").args([name, "--image", "debian-trixie-minimal"]).ok();
    home.banger("lost-found restore").args([name]).fails_with(3).says("lost-found list");
    home.banger("lost-found delete").args([&found[0].name]).ok();
    assert_eq!(home.banger("lost-found list").ok().text().lines().count(), 1);
}

/// Each in turn is moved away, with VMs running and stopped, and a daemon that was killed; the next command
/// works all the same, and whatever was moved is the only thing that is missing.
#[test]
fn any_one_thing_may_be_missing() {
    let home = Home::new();
    home.boot("x");
    home.banger("vm create --name y").ok();
    let (x, y) = (home.vm("x").id, home.vm("y").id);
    let pid = home.vmm_pid("x");
    let removable = |path: &Path| {
        let text = path.to_string_lossy();
        // The seed's image and kernel are what both VMs are made of: without them they are broken, see below.
        !text.contains("/images") && !text.contains("/kernels") && !text.contains(&format!("/vms/{x}"))
    };
    for path in everything(&home).into_iter().filter(|path| removable(path)) {
        if !path.exists() {
            continue;
        }
        home.kill_daemon();
        let aside = home.root().join("aside");
        fs::rename(&path, &aside).unwrap();
        let listed = home.banger("vm list --all --json").limit(Duration::from_secs(30)).ok();
        let shown = path.strip_prefix(home.root()).unwrap_or(&path).display();
        let vms: Vec<banger_api::vm::Vm> = serde_json::from_slice(&listed.out).unwrap();
        let state = |id: &str| vms.iter().find(|vm| vm.id == id).map(|vm| vm.state);
        let gone_with_it = path.ends_with("vms") || path.ends_with("state/banger") || path.ends_with("state");
        if !gone_with_it {
            assert!(is_alive(pid), "{shown}: the running VM is gone");
            assert_eq!(state(&x), Some(VmState::Running), "{shown}");
            let of_y = path.to_string_lossy().contains(&y) && !path.ends_with("vm.json");
            let expected = if of_y { VmState::Broken } else { VmState::Stopped };
            assert_eq!(state(&y), Some(expected), "{shown}");
        }
        home.kill_daemon();
        put_back(&aside, &path);
        assert_eq!(home.vm("y").state, VmState::Stopped, "{shown}");
        assert_eq!(home.vm("x").state, VmState::Running, "{shown}");
    }
    home.banger("vm delete --force x y").ok();
    home.assert_no_residue();
}

/// Every file and directory of banger's, but the scenario's own.
fn everything(home: &Home) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = ["state", "cache", "run"].map(|dir| home.root().join(dir)).to_vec();
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            todo.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
        }
        found.push(path);
    }
    found.sort();
    found
}

fn put_back(aside: &Path, path: &Path) {
    // What was made in its place gives way.
    match path.symlink_metadata() {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path).unwrap(),
        Ok(_) => fs::remove_file(path).unwrap(),
        Err(_) => {}
    }
    fs::rename(aside, path).unwrap();
}

#[test]
fn a_stop_that_a_crash_cut_off_goes_on() {
    let home = Home::new();
    home.boot("x");
    let qemu = home.processes("qemu");
    qemu.iter().for_each(|process| process.signal(Signal::STOP));
    let stop = home.banger("vm stop --timeout 30 x").start();
    until("it is stopping", Duration::from_secs(5), || home.vm("x").state == VmState::Stopping);
    home.kill_daemon();
    assert_ne!(stop.finish(Duration::from_secs(20)).code, 0);
    assert_eq!(home.vm("x").state, VmState::Stopping);
    home.banger("vm start x").fails_with(4).says("stopping");
    qemu.iter().for_each(|process| process.signal(Signal::CONT));
    home.wait_for_state("x", VmState::Stopped);
    home.banger("vm start x").ok();
    home.sh("x", "true");
}
