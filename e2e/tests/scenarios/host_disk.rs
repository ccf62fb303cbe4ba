use std::fs::File;
use std::path::Path;
use std::time::Duration;

use banger_api::vm::{Pause, VmState};
use e2e::{Home, MountNamespace, eventually, skipped, tool, until};
use rustix::fs::FallocateFlags;
use sha2::{Digest as _, Sha256};

/// Puts the state directory on a small disk of its own, which only those in this mount namespace can see.
const ON_A_SMALL_DISK: &str = r#"
mkdir -p "$HOME/small" &&
mount -t tmpfs -o mode=0700,size=$SMALL_DISK tmpfs "$HOME/small" &&
cp -a --sparse=always "$XDG_STATE_HOME/banger" "$HOME/small/" &&
mount --bind "$HOME/small" "$XDG_STATE_HOME" &&
exec "$@""#;

const WRITTEN_MIB: usize = 96;

/// Writes more than there is room for, and tells its checksum. All of it is in the host's file before it is
/// summed up.
const WRITE: &str = "yes $MARK | head -c 100663296 > /root/$MARK; sync; echo 3 > /proc/sys/vm/drop_caches; sha256sum < /root/$MARK";

fn checksum(mark: &str) -> String {
    let line = format!("{mark}\n");
    let bytes: Vec<u8> = line.bytes().cycle().take(WRITTEN_MIB << 20).collect();
    hex::encode(Sha256::digest(bytes))
}

fn free_bytes(dir: &str) -> u64 {
    let stat = rustix::fs::statvfs(dir).unwrap();
    stat.f_bavail * stat.f_frsize
}

/// Takes all room on the disk of `dir` but for `rest_bytes`.
fn fill(dir: &str, rest_bytes: u64) {
    let file = File::create(Path::new(dir).join("filler")).unwrap();
    let taken = free_bytes(dir) - rest_bytes;
    rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, taken).unwrap();
}

fn free(dir: &str) {
    std::fs::remove_file(Path::new(dir).join("filler")).unwrap();
}

#[test]
fn needs_root_a_full_host_disk_pauses_a_vm_until_there_is_room() {
    if !tool(&["unshare", "--mount", "true"]).is_some_and(|(works, _)| works) {
        return skipped("mounting a small disk takes root");
    }
    let home = Home::new();
    let namespace = MountNamespace::new(&home, ON_A_SMALL_DISK, "3G");
    let home = home.under(&["nsenter", &namespace.entry()]);
    let state = namespace.outside(&home.state());
    home.banger("vm create --start --name x --disk-size 512MiB").ok();

    // A command that runs meanwhile waits, and writes all of it in the end.
    fill(&state, 24 << 20);
    let writing = home.banger("exec x").sh(&format!("MARK=one; {WRITE}")).start();
    home.wait_for_state("x", VmState::Paused);
    assert_eq!(home.vm("x").paused_because, Some(Pause::HostDiskFull));
    assert!(home.banger("vm list").ok().text().contains("paused: host disk full"));
    assert!(home.banger("vm show x").ok().text().contains("paused: host disk full"));
    let diagnosis = home.banger("doctor").output();
    assert!(String::from_utf8_lossy(&diagnosis.out).contains("paused: host disk full"), "{diagnosis}");
    let refused = home.banger("exec x -- true").output();
    assert_ne!(refused.code, 0, "{refused}");
    refused.says("VM \"x\" is paused: host disk full").says("help: free some disk space");
    home.banger("vm create --start --name y")
        .fails_with(5)
        .says("MiB free; a VM needs at least 512 MiB to start without freezing")
        .says("help: free some disk space");
    free(&state);
    let written = writing.finish(Duration::from_secs(60));
    assert!(written.text().starts_with(&checksum("one")), "{written}");
    assert_eq!((home.vm("x").state, home.vm("x").paused_because), (VmState::Running, None));

    // A daemon that was not there finds it paused, and has it go on all the same.
    let vmm = home.vmm_pid("x");
    fill(&state, 24 << 20);
    let background = format!("MARK=two; export MARK; setsid sh -c '{WRITE} > /run/sum' > /dev/null 2>&1 &");
    home.sh("x", &background);
    home.wait_for_state("x", VmState::Paused);
    home.kill_daemon();
    home.wait_for_state("x", VmState::Paused);
    assert_eq!(home.vmm_pid("x"), vmm);
    free(&state);
    home.wait_for_state("x", VmState::Running);
    let sum = eventually("all is written", Duration::from_secs(60), || {
        let sum = home.sh("x", "cat /run/sum 2>/dev/null || true");
        (!sum.is_empty()).then_some(sum)
    });
    assert!(sum.starts_with(&checksum("two")), "{sum}");

    // What stands still can be stopped and deleted.
    fill(&state, 8 << 20);
    home.sh("x", "setsid sh -c 'yes three > /root/three' > /dev/null 2>&1 &");
    home.wait_for_state("x", VmState::Paused);
    home.banger("vm stop --timeout 1 x").ok().says("it is paused (host disk full) and cannot shut down");
    home.banger("vm start x").fails_with(5).says("needs at least 512 MiB");
    until("its process is gone", Duration::from_secs(5), || !e2e::is_alive(vmm));
    // Not even a file of the store's finds room: what takes it can be seen and deleted all the same.
    home.banger("daemon stop").ok();
    let rest = File::create(Path::new(&state).join("rest")).unwrap();
    while rustix::fs::fallocate(&rest, FallocateFlags::empty(), rest.metadata().unwrap().len(), 4096).is_ok()
    {
    }
    assert_eq!(free_bytes(&state), 0);
    home.banger("vm list --all").ok();
    home.banger("doctor").output();
    home.banger("vm delete x").ok();
    home.assert_no_residue();
}
