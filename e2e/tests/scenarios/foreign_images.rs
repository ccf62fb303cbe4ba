//! Images that nobody has prepared for a VM. Each comes up with a network and names, starts the init that it
//! has, goes down clean and comes up again.

use std::time::Duration;

use banger_api::vm::VmState;
use e2e::{Home, LayerTar, StandIn, busybox, eventually, tool};

/// What every VM has to have, asked with what busybox and the distributions have in common.
#[track_caller]
fn is_at_home(home: &Home, vm: &str) {
    assert_eq!(home.sh(vm, "hostname; cat /etc/hostname"), format!("{vm}\n{vm}"));
    assert_eq!(home.sh(vm, "cat /etc/resolv.conf"), "nameserver 198.18.0.1");
    assert_eq!(
        home.sh(vm, "grep -c ' localhost' /etc/hosts; grep localhost$ /etc/hosts"),
        "2\n127.0.0.1 localhost"
    );
    assert_eq!(home.sh(vm, &format!("grep -w {vm} /etc/hosts")), format!("127.0.1.1 {vm}"));
    assert_eq!(home.sh(vm, "cat /sys/class/net/eth0/flags"), "0x1091", "up");
    // The gateway answers, and the route to the world leads there.
    assert_eq!(
        home.sh(vm, "awk '$2 == \"00000000\" { print $1, $3; exit }' /proc/net/route"),
        "eth0 010012C6"
    );
    assert_eq!(
        home.sh(vm, "stat -c '%a %F' /tmp /dev/null /dev/pts/ptmx | cut -d' ' -f1,2 | tr '\\n' ' '").trim(),
        "1777 directory 666 character 666 character"
    );
    assert_eq!(home.sh(vm, "ls -d /lib/modules/*/modules.dep | wc -l"), "1");
}

/// Stops it, which must not need force, starts it, and looks whether the filesystems were left clean and what
/// was written is there.
#[track_caller]
fn goes_down_clean_and_comes_again(home: &Home, vm: &str) {
    home.sh(vm, "echo kept > /etc/file; echo kept > /root/file");
    let stop = home.banger("vm stop").args([vm]).ok();
    assert!(!stop.err.contains("killed"), "{stop}");
    home.banger("vm start").args([vm]).ok();
    assert_eq!(home.sh(vm, "cat /etc/file /root/file"), "kept\nkept");
    assert_eq!(home.sh(vm, "dmesg | grep -iE 'recover|orphan cleanup' || true"), "");
}

#[track_caller]
fn boot(home: &Home, image: &str) -> Option<String> {
    home.banger("vm create --start --name").args([image, "--image", image]).ok();
    home.vm(image).guest_init
}

#[track_caller]
fn wait_for(home: &Home, vm: &str, what: &str, script: &str) {
    eventually(what, Duration::from_secs(120), || {
        (home.banger("exec").args([vm]).sh(script).output().code == 0).then_some(())
    });
}

#[test]
fn busybox_alone_is_enough() {
    let home = Home::new();
    home.import_files("bare", LayerTar::new().dir("bin/", 0o755).file("bin/busybox", 0o755, busybox()));
    assert_eq!(boot(&home, "bare").as_deref(), Some("banger-agent"));
    // It has a shell, though nobody has made a link to it.
    let shell = home.banger("exec bare").stdin("echo $0; busybox ls /; busybox cat /etc/resolv.conf").ok();
    assert_eq!(
        shell.text().split_whitespace().collect::<Vec<_>>().join(" "),
        "-sh bin dev etc lib lost+found proc root run sys tmp nameserver 198.18.0.1"
    );
    let run = home.banger("run --rm --image bare").stdin("busybox hostname; exit 4").fails_with(4);
    assert!(!run.text().is_empty(), "{run}");

    if tool(&["ssh", "-V"]).is_some() {
        home.banger("ssh bare -- true").fails_with(125).says("no SSH server").says("no /etc/os-release");
    }
    home.banger("exec bare -- busybox --install -s /bin").ok();
    is_at_home(&home, "bare");
    assert_eq!(home.sh("bare", "ping -c 1 bare | grep -o '1 packets received'"), "1 packets received");
    assert_eq!(home.sh("bare", "stat -f -c %T /sys/fs/cgroup; cat /proc/1/comm"), "UNKNOWN\ninit");
    goes_down_clean_and_comes_again(&home, "bare");
    home.banger("vm delete bare").ok();
    home.assert_no_residue();
}

#[test]
fn one_program_is_enough_and_a_missing_shell_is_explained() {
    let home = Home::new();
    // busybox by the name of one of its programs is that program.
    home.import_files("scratch", LayerTar::new().file("cat", 0o755, busybox()));
    assert_eq!(boot(&home, "scratch").as_deref(), Some("banger-agent"));
    let cat = |path: &str| home.banger("exec scratch -- /cat").args([path]).ok().text();
    assert_eq!(cat("/etc/resolv.conf"), "nameserver 198.18.0.1");
    assert_eq!(cat("/etc/hostname"), "scratch");
    let shell = home.banger("exec scratch").stdin("").fails_with(127);
    for words in ["could not run a shell in scratch", "the image has none", "name a program of the image's"] {
        shell.says(words);
    }
    let missing = home.banger("exec scratch -- sh").fails_with(127);
    missing.says("sh: command not found");
    let stop = home.banger("vm stop scratch").ok();
    assert!(!stop.err.contains("killed"), "{stop}");
    home.banger("vm start scratch").ok();
    assert_eq!(cat("/etc/hostname"), "scratch");
    home.banger("vm delete --force scratch").ok();
    home.assert_no_residue();
}

/// Files that are in the way, links that lead nowhere or out, and an init that was made for containers.
#[test]
fn oddities_of_an_image_are_not_in_the_way() {
    let home = Home::new();
    let files = LayerTar::new()
        .dir("bin/", 0o755)
        .file("bin/busybox", 0o755, busybox())
        .dir("sbin/", 0o755)
        .symlink("sbin/init", "/bin/busybox")
        // alpine's, which names an openrc that is not there.
        .dir("etc/", 0o700)
        .file("etc/inittab", 0o644, "::sysinit:/sbin/openrc sysinit\n::wait:/sbin/openrc default\n")
        .file("etc/passwd", 0o600, "root:x:0:0:root:/root:/sbin/nologin\n")
        .dir("etc/resolv.conf/", 0o755)
        .symlink("etc/hosts", "/nowhere/at/all")
        .dir("etc/hostname/", 0o755)
        .file("etc/hostname/content", 0o644, "somebody's")
        .symlink("lib", "usr/lib")
        .file("dev", 0o644, "no directory")
        .symlink("sys", "sys")
        .dir("run/", 0o755)
        .file("run/stale.pid", 0o644, "1")
        .symlink("root", "../../../var/roothome")
        .dir("tmp/", 0o755)
        .file("tmp/mine", 0o644, "mine");
    home.import_files("odd", files);
    assert_eq!(boot(&home, "odd").as_deref(), Some("banger-agent"));
    home.banger("exec odd -- busybox sh -c")
        .args(["busybox --install -s /bin; mkdir -p /sbin; mkdir -p /usr/bin"])
        .ok();
    is_at_home(&home, "odd");
    let seen = home.sh(
        "odd",
        "cat /etc/.banger-replaced-hostname/content; echo; cat /tmp/mine; echo; readlink /root; ls /run; stat -c %a /etc",
    );
    assert_eq!(seen, "somebody's\nmine\n../../../var/roothome\n700");
    goes_down_clean_and_comes_again(&home, "odd");
    home.banger("vm delete --force odd").ok();
    home.assert_no_residue();
}

#[test]
fn busyboxs_init_starts_openrc() {
    let home = Home::new();
    home.import_stand_in(StandIn::OpenRc);
    assert_eq!(boot(&home, "openrc").as_deref(), Some("/sbin/init"));
    assert_eq!(home.sh("openrc", "readlink /sbin/init; cat /proc/1/comm"), "/bin/busybox\ninit");
    wait_for(&home, "openrc", "openrc has started its service", "test -e /run/marker");
    assert_eq!(home.sh("openrc", "rc-status default | grep -c 'marker.*started'"), "1");
    is_at_home(&home, "openrc");
    goes_down_clean_and_comes_again(&home, "openrc");
    assert_eq!(home.sh("openrc", "ls /var/stopped"), "/var/stopped", "openrc has stopped its service");

    // By itself.
    wait_for(&home, "openrc", "openrc has started its service", "test -e /run/marker");
    home.banger("exec openrc -- poweroff").output();
    home.wait_for_state("openrc", VmState::Stopped);
    assert_eq!(home.vm("openrc").last_error, None);
    home.banger("vm delete openrc").ok();
    home.assert_no_residue();
}

/// It says nothing of unmounting in its inittab, and nothing else does it either.
#[test]
fn busyboxs_init_alone_leaves_clean_filesystems() {
    let home = Home::new();
    let files = LayerTar::new()
        .dir("bin/", 0o755)
        .file("bin/busybox", 0o755, busybox())
        .dir("etc/", 0o755)
        .file(
            "etc/inittab",
            0o644,
            "::sysinit:/bin/busybox --install -s /bin\n::respawn:/bin/busybox sleep 100000\n",
        )
        .hard_link("bin/init", "bin/busybox");
    home.import_files("plain", files);
    assert_eq!(boot(&home, "plain").as_deref(), Some("/bin/init"));
    wait_for(&home, "plain", "init has begun", "true");
    is_at_home(&home, "plain");
    goes_down_clean_and_comes_again(&home, "plain");
    home.banger("vm delete --force plain").ok();
    home.assert_no_residue();
}

#[test]
fn runit_is_started() {
    let home = Home::new();
    home.import_stand_in(StandIn::Runit);
    assert_eq!(boot(&home, "runit").as_deref(), Some("/sbin/init"));
    wait_for(&home, "runit", "runit has started its service", "test -e /run/marker");
    assert_eq!(home.sh("runit", "cat /proc/1/comm; sv status marker | cut -d: -f1"), "runit\nrun");
    is_at_home(&home, "runit");
    goes_down_clean_and_comes_again(&home, "runit");
    assert_eq!(home.sh("runit", "ls /var/stopped"), "/var/stopped", "runit has gone through its third stage");
    home.banger("vm delete --force runit").ok();
    home.assert_no_residue();
}

#[test]
fn sysvinit_is_started_on_an_unmerged_usr() {
    let home = Home::new();
    home.import_stand_in(StandIn::Sysvinit);
    assert_eq!(boot(&home, "sysvinit").as_deref(), Some("/sbin/init"));
    assert_eq!(home.sh("sysvinit", "readlink /bin /lib /sbin || echo none"), "none");
    wait_for(&home, "sysvinit", "sysvinit is in its runlevel", "test \"$(runlevel)\" = 'N 2'");
    is_at_home(&home, "sysvinit");
    assert_eq!(home.sh("sysvinit", "getent hosts sysvinit | grep -o '^[0-9.]*'"), "127.0.1.1");
    goes_down_clean_and_comes_again(&home, "sysvinit");
    home.banger("vm delete --force sysvinit").ok();
    home.assert_no_residue();
}

#[test]
fn systemd_is_started_without_a_link_to_it_and_asks_nothing() {
    let home = Home::new();
    home.import_stand_in(StandIn::Systemd);
    assert_eq!(boot(&home, "systemd").as_deref(), Some("/usr/lib/systemd/systemd"));
    eventually("systemd has finished", Duration::from_secs(120), || {
        (home.sh("systemd", "systemctl is-system-running || true") == "running").then_some(())
    });
    assert_eq!(
        home.sh("systemd", "systemctl is-active systemd-networkd systemd-resolved systemd-udevd"),
        "active\nactive\nactive"
    );
    is_at_home(&home, "systemd");
    // networkd was told to ask by DHCP, and has found what it needs.
    let links = home.sh("systemd", "networkctl --no-legend list eth0; resolvectl dns eth0");
    assert!(links.contains("configured") && links.contains("198.18.0.1"), "{links}");
    assert_eq!(home.sh("systemd", "ip -4 -br address show eth0 | tr -s ' '"), "eth0 UNKNOWN 198.18.0.2/15");
    assert_eq!(home.sh("systemd", "getent hosts systemd | grep -o '^[0-9.]*'"), "127.0.1.1");
    let id = home.sh("systemd", "cat /etc/machine-id");
    assert_eq!(id.len(), 32, "{id}");
    goes_down_clean_and_comes_again(&home, "systemd");
    assert_eq!(home.sh("systemd", "cat /etc/machine-id"), id);
    home.banger("vm delete --force systemd").ok();
    home.assert_no_residue();
}
