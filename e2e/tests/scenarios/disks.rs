use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use banger_api::vm::VmState;
use e2e::{Home, Running, eventually};
use rustix::fs::SeekFrom;
use rustix::process::Signal;
use sha2::{Digest as _, Sha256};

/// What a kernel says when it finds a filesystem that was not unmounted.
const REPLAYED: &str = "dmesg | grep -iE 'recover|orphan cleanup' || true";

#[test]
fn data_survives_a_stop_and_a_power_cut() {
    let home = Home::new();
    home.boot("x");
    home.sh("x", "echo one > /etc/one; echo one > /root/one; chmod 741 /root/one");
    let stop = home.banger("vm stop x").ok();
    assert!(!stop.err.contains("killed"), "{stop}");
    home.banger("vm start x").ok();
    assert_eq!(home.sh("x", "cat /etc/one /root/one; stat -c %a /root/one"), "one\none\n741");
    assert_eq!(home.sh("x", REPLAYED), "", "a clean stop leaves no journal to replay");

    home.sh("x", "echo two > /etc/two; echo two > /root/two; sync");
    let pid = home.vmm_pid("x");
    home.processes("qemu")
        .iter()
        .filter(|process| process.pid == pid)
        .for_each(|qemu| qemu.signal(Signal::KILL));
    home.wait_for_state("x", VmState::Stopped);
    home.banger("vm start x").ok();
    assert_eq!(home.sh("x", "cat /etc/one /etc/two /root/one /root/two"), "one\ntwo\none\ntwo");
    assert_ne!(
        home.sh("x", REPLAYED),
        "",
        "a power cut leaves a journal to replay, or the check above proves nothing"
    );
}

#[test]
fn vms_of_one_image_do_not_see_each_other() {
    let home = Home::new();
    let image = std::fs::read_dir(home.state().join("images")).unwrap().next().unwrap().unwrap();
    let checksum = || data_checksum(&image.path().join("rootfs.ext4"));
    let before = checksum();
    let boots: Vec<Running> =
        ["a", "b"].iter().map(|vm| home.banger("vm create --start --name").args([*vm]).start()).collect();
    for boot in boots {
        let boot = boot.finish(Duration::from_secs(100));
        assert_eq!(boot.code, 0, "{boot}");
    }
    for vm in ["a", "b"] {
        home.sh(vm, &format!("echo {vm} > /etc/mine; echo {vm} > /root/mine; rm /etc/debian_version; sync"));
    }
    for vm in ["a", "b"] {
        assert_eq!(home.sh(vm, "cat /etc/mine /root/mine; hostname"), format!("{vm}\n{vm}\n{vm}"));
    }
    home.banger("vm delete --force a b").ok();
    assert_eq!(
        home.banger("run --rm")
            .sh("ls /etc/mine /root/mine; cat /etc/debian_version")
            .fails_with(0)
            .err
            .matches("No such file")
            .count(),
        2
    );
    assert_eq!(checksum(), before, "the image file has changed");
    home.assert_no_residue();
}

/// Of what a sparse file holds, and where: its holes are most of it.
fn data_checksum(path: &Path) -> String {
    let file = File::open(path).unwrap();
    let mut hash = Sha256::new();
    let (mut at, mut buffer) = (0, vec![0; 1 << 20]);
    while let Ok(start) = rustix::fs::seek(&file, SeekFrom::Data(at)) {
        let end = rustix::fs::seek(&file, SeekFrom::Hole(start)).unwrap();
        hash.update(start.to_le_bytes());
        at = start;
        while at < end {
            let len = (end - at).min(buffer.len() as u64) as usize;
            file.read_exact_at(&mut buffer[..len], at).unwrap();
            hash.update(&buffer[..len]);
            at += len as u64;
        }
    }
    hex::encode(hash.finalize())
}

#[test]
fn the_root_is_a_whole_debian() {
    let home = Home::new();
    home.boot("x");
    // Owners, modes, hardlinks, capabilities and device nodes made it through tar and ext4.
    assert_eq!(
        home.sh("x", "stat -c '%a %U:%G' /etc/shadow /tmp /usr/bin/passwd"),
        "640 root:shadow\n1777 root:root\n4755 root:root"
    );
    assert_eq!(home.sh("x", "test -c /dev/null && echo x > /dev/null && perl -e 'print 6*7'"), "42");
    assert_eq!(home.sh("x", "dpkg --audit; dpkg --verify 2>&1 | grep -vE ' c /|/usr/share/(doc|man|info|locale|lintian)/' | head -5"), "");
    assert_eq!(
        home.sh("x", "stat -c %T -f / /root; df --output=target / /root | tail -2"),
        "ext2/ext3\next2/ext3\n/\n/root"
    );
    let uname = home.sh("x", "uname -r; ls /lib/modules");
    let lines: Vec<&str> = uname.lines().collect();
    assert_eq!(lines[0], lines[1], "the modules of another kernel");
    home.sh(
        "x",
        "modprobe overlay 2>/dev/null || insmod $(find /lib/modules -name 'overlay.ko*' | head -1) || true",
    );
    // The clock is the host's, within what a boot takes.
    let guest = home.sh("x", "date +%s").parse::<u64>().unwrap();
    let host = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!(guest.abs_diff(host) <= 2, "guest {guest}, host {host}");
    eventually("entropy", Duration::from_secs(5), || {
        (home.sh("x", "head -c 16 /dev/random | wc -c") == "16").then_some(())
    });
}
